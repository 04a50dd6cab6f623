//! Tokens to syntax tree, by recursive descent.
//!
//! What enters: a module's text. What leaves: its `Unit`, or the first place that cannot be read.
//! Directives that say nothing about meaning (alignment of code, debugging sections, tuning hints) are read and
//! dropped; a directive that is not known is an error.

use super::lexer::{Kind, Token, tokens};
use super::syntax::*;
use crate::fault::ParseError;
use crate::types::{Space, Type};
use smol_str::SmolStr;

type Read<T> = Result<T, ParseError>;

/// The largest array that a module may declare, in bytes.
const MOST_BYTES: u64 = 1 << 28;

pub fn parse(text: &str) -> Read<Unit> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, source: None, files: Vec::new(), depth: 0 };
    let mut unit = parser.unit()?;
    unit.files = parser.files;
    Ok(unit)
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    at: usize,
    source: Option<(u32, u32)>,
    files: Vec<(u32, SmolStr)>,
    /// Of blocks in blocks.
    depth: u32,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        self.tokens[self.at]
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.tokens[self.at];
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn fail<T>(&self, message: String) -> Read<T> {
        Err(ParseError { line: self.peek().line, message })
    }

    fn eat(&mut self, kind: Kind) -> bool {
        let found = self.peek().kind == kind;
        if found {
            self.next();
        }
        found
    }

    fn eat_suffix(&mut self, name: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Suffix && &token.text[1..] == name;
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, kind: Kind) -> Read<Token<'t>> {
        if self.peek().kind == kind {
            return Ok(self.next());
        }
        self.fail(format!("{kind:?} should stand here, and `{}` does", self.peek().text))
    }

    fn word(&mut self) -> Read<SmolStr> {
        Ok(self.expect(Kind::Word)?.text.into())
    }

    fn small(&mut self) -> Read<u32> {
        let value = self.integer()?;
        u32::try_from(value).or_else(|_| self.fail(format!("{value} is too large here")))
    }

    fn integer(&mut self) -> Read<u64> {
        let text = self.expect(Kind::Integer)?.text.trim_end_matches('U');
        let lower = text.to_ascii_lowercase();
        let value = match (lower.strip_prefix("0x"), lower.strip_prefix("0b")) {
            (Some(digits), _) => u64::from_str_radix(digits, 16),
            (_, Some(digits)) => u64::from_str_radix(digits, 2),
            _ if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower, 8),
            _ => lower.parse(),
        };
        value.or_else(|_| self.fail(format!("`{text}` is no integer of 64 bits")))
    }

    fn unit(&mut self) -> Read<Unit> {
        let mut unit = Unit::default();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => return Ok(unit),
                Kind::Suffix => {}
                _ => return self.fail(format!("a directive should stand here, and `{}` does", token.text)),
            }
            match token.text {
                ".version" => {
                    self.next();
                    self.next();
                }
                ".target" => {
                    self.next();
                    unit.target = self.word()?;
                    while self.eat(Kind::Comma) {
                        self.word()?;
                    }
                }
                ".address_size" => {
                    self.next();
                    if self.integer()? != 64 {
                        return self.fail("addresses of 64 bits only".into());
                    }
                }
                ".file" => self.file()?,
                ".section" => self.section()?,
                ".pragma" => self.pragma()?,
                _ => self.declaration(&mut unit)?,
            }
        }
    }

    /// `.file 1 "name.cu", 0, 0`
    fn file(&mut self) -> Read<()> {
        self.next();
        let number = self.small()?;
        let name = self.expect(Kind::String)?.text.trim_matches('"');
        self.files.push((number, name.rsplit('/').next().unwrap_or(name).into()));
        while self.eat(Kind::Comma) {
            self.integer()?;
        }
        Ok(())
    }

    /// Debugging sections in braces: nothing of them is needed.
    fn section(&mut self) -> Read<()> {
        while self.peek().kind != Kind::CloseBrace {
            if self.next().kind == Kind::End {
                return self.fail("a section without its end".into());
            }
        }
        self.next();
        Ok(())
    }

    fn pragma(&mut self) -> Read<()> {
        self.next();
        self.expect(Kind::String)?;
        self.expect(Kind::Semicolon)?;
        Ok(())
    }

    fn declaration(&mut self, unit: &mut Unit) -> Read<()> {
        let mut is_extern = false;
        loop {
            let token = self.peek();
            match token.text {
                ".visible" | ".weak" | ".common" => {
                    self.next();
                }
                ".extern" => {
                    self.next();
                    is_extern = true;
                }
                ".entry" | ".func" => {
                    self.next();
                    let function = self.function(token.text == ".entry")?;
                    unit.functions.push(function);
                    return Ok(());
                }
                _ => {
                    let mut variable = self.variable()?;
                    variable.is_extern = is_extern;
                    self.expect(Kind::Semicolon)?;
                    unit.variables.push(variable);
                    return Ok(());
                }
            }
        }
    }

    fn function(&mut self, is_entry: bool) -> Read<Function> {
        let returns = if self.peek().kind == Kind::OpenParenthesis { self.parameters()? } else { Vec::new() };
        let name = self.word()?;
        let parameters =
            if self.peek().kind == Kind::OpenParenthesis { self.parameters()? } else { Vec::new() };
        let mut most_threads = None;
        loop {
            let token = self.peek();
            match token.text {
                ".maxntid" | ".reqntid" => {
                    self.next();
                    most_threads = Some(self.integers()?.iter().product::<u64>().min(1 << 20) as u32);
                }
                ".minnctapersm" | ".maxnreg" | ".reqnctapercluster" | ".maxclusterrank" => {
                    self.next();
                    self.integers()?;
                }
                ".noreturn" => {
                    self.next();
                }
                ".pragma" => self.pragma()?,
                ";" => {
                    self.next();
                    return Ok(Function { name, is_entry, returns, parameters, most_threads, body: None });
                }
                _ => break,
            }
        }
        self.source = None;
        let body = Some(self.block()?);
        Ok(Function { name, is_entry, returns, parameters, most_threads, body })
    }

    fn integers(&mut self) -> Read<Vec<u64>> {
        let mut found = vec![self.integer()?];
        while self.eat(Kind::Comma) {
            found.push(self.integer()?);
        }
        Ok(found)
    }

    fn parameters(&mut self) -> Read<Vec<Variable>> {
        self.expect(Kind::OpenParenthesis)?;
        let mut found = Vec::new();
        while self.peek().kind != Kind::CloseParenthesis {
            found.push(self.variable()?);
            if !self.eat(Kind::Comma) {
                break;
            }
        }
        self.expect(Kind::CloseParenthesis)?;
        Ok(found)
    }

    /// `.shared .align 4 .b8 name[16] = {1, 2}`, without what stands after it.
    fn variable(&mut self) -> Read<Variable> {
        let (mut space, mut ty, mut align, mut lanes) = (None, None, None, 1);
        while self.peek().kind == Kind::Suffix {
            let token = self.next();
            let word = &token.text[1..];
            match word {
                "align" => align = Some(self.small()?),
                // What a pointer parameter points to: a hint.
                "ptr" => {}
                "v2" => lanes = 2,
                "v4" => lanes = 4,
                _ => match (Space::named(word), Type::named(word)) {
                    (Some(found), _) => {
                        space.get_or_insert(found);
                    }
                    (_, Some(found)) => ty = Some(found),
                    _ => return self.fail(format!("`.{word}` is not known in a declaration")),
                },
            }
        }
        let (Some(space), Some(ty)) = (space, ty) else {
            return self.fail("a declaration without a state space or a type".into());
        };
        let name = self.word()?;
        let (mut elements, mut is_dynamic) = (1u64, false);
        while self.eat(Kind::OpenBracket) {
            match self.peek().kind {
                Kind::CloseBracket => is_dynamic = true,
                _ => elements = elements.saturating_mul(self.integer()?),
            }
            self.expect(Kind::CloseBracket)?;
        }
        let initial = if self.eat(Kind::Equal) { self.initial(ty)? } else { Vec::new() };
        let bytes = elements.saturating_mul(lanes).saturating_mul(ty.bytes() as u64);
        if bytes > MOST_BYTES {
            return self.fail(format!("`{name}` is larger than {MOST_BYTES} bytes"));
        }
        let bytes = if is_dynamic { initial.len() as u32 } else { bytes as u32 };
        let align = align.unwrap_or(ty.bytes() * lanes as u32).max(1);
        Ok(Variable { name, space, align, bytes, initial, is_extern: false })
    }

    /// Numbers, or braces of them, as bytes.
    fn initial(&mut self, ty: Type) -> Read<Vec<u8>> {
        if self.eat(Kind::OpenBrace) {
            let mut found = Vec::new();
            while !self.eat(Kind::CloseBrace) {
                found.extend(self.initial(ty)?);
                self.eat(Kind::Comma);
            }
            return Ok(found);
        }
        let bits = match self.operand()? {
            Operand::Integer(bits) => bits,
            Operand::Single(bits) => bits as u64,
            Operand::Double(bits) => bits,
            _ => return self.fail("an initial value that is no number".into()),
        };
        Ok(bits.to_le_bytes()[..(ty.bytes() as usize).min(8)].to_vec())
    }

    fn block(&mut self) -> Read<Vec<Statement>> {
        self.expect(Kind::OpenBrace)?;
        self.depth += 1;
        if self.depth > 64 {
            return self.fail("more than 64 blocks in each other".into());
        }
        let mut body = Vec::new();
        while !self.eat(Kind::CloseBrace) {
            let token = self.peek();
            match token.kind {
                Kind::Semicolon => {
                    self.next();
                }
                Kind::OpenBrace => body.push(Statement::Block(self.block()?)),
                Kind::Suffix => self.directive(&mut body)?,
                Kind::Word if self.tokens[self.at + 1].kind == Kind::Colon => {
                    self.next();
                    self.next();
                    self.label(token.text.into(), &mut body)?;
                }
                Kind::Word | Kind::At => body.push(Statement::Instruction(self.instruction()?)),
                _ => return self.fail(format!("a statement should stand here, and `{}` does", token.text)),
            }
        }
        self.depth -= 1;
        Ok(body)
    }

    fn label(&mut self, name: SmolStr, body: &mut Vec<Statement>) -> Read<()> {
        if self.eat_suffix("branchtargets") {
            let mut targets = vec![self.word()?];
            while self.eat(Kind::Comma) {
                targets.push(self.word()?);
            }
            self.expect(Kind::Semicolon)?;
            body.push(Statement::Targets(name, targets));
        } else if self.eat_suffix("callprototype") {
            while self.next().kind != Kind::Semicolon {
                if self.peek().kind == Kind::End {
                    return self.fail("a prototype without its end".into());
                }
            }
        } else {
            body.push(Statement::Label(name));
        }
        Ok(())
    }

    fn directive(&mut self, body: &mut Vec<Statement>) -> Read<()> {
        match self.peek().text {
            ".loc" => self.loc(),
            ".pragma" => self.pragma(),
            ".file" => self.file(),
            ".reg" => {
                self.next();
                let token = self.expect(Kind::Suffix)?;
                let Some(ty) = Type::named(&token.text[1..]) else {
                    return self.fail(format!("`{}` is no type of a register", token.text));
                };
                loop {
                    let name = self.word()?;
                    let mut count = None;
                    if self.eat(Kind::Less) {
                        count = Some(self.small()?);
                        self.expect(Kind::Greater)?;
                    }
                    body.push(Statement::Registers { ty, name, count });
                    if !self.eat(Kind::Comma) {
                        break;
                    }
                }
                self.expect(Kind::Semicolon)?;
                Ok(())
            }
            _ => {
                let variable = self.variable()?;
                self.expect(Kind::Semicolon)?;
                body.push(Statement::Variable(variable));
                Ok(())
            }
        }
    }

    /// `.loc file line column`, perhaps with where it was inlined, which is dropped.
    fn loc(&mut self) -> Read<()> {
        self.next();
        let (file, line) = (self.small()?, self.small()?);
        self.integer()?;
        self.source = Some((file, line));
        while self.eat(Kind::Comma) {
            while matches!(self.peek().kind, Kind::Word | Kind::Integer | Kind::Plus) {
                let is_label = self.tokens[self.at + 1].kind == Kind::Colon;
                if is_label || self.peek().kind == Kind::Word && self.begins_instruction() {
                    break;
                }
                self.next();
            }
        }
        Ok(())
    }

    /// After a `.loc` no mark ends its list, but an opcode is not one of its words.
    fn begins_instruction(&self) -> bool {
        !matches!(self.peek().text, "inlined_at" | "function_name") && !self.peek().text.starts_with('$')
    }

    fn instruction(&mut self) -> Read<Instruction> {
        let first = self.peek();
        let guard = if self.eat(Kind::At) {
            let negated = self.eat(Kind::Not);
            Some(Guard { register: self.word()?, negated })
        } else {
            None
        };
        let opcode = self.word()?;
        let mut modifiers = Vec::new();
        while self.peek().kind == Kind::Suffix {
            modifiers.push(self.next().text[1..].into());
        }
        let mut operands = Vec::new();
        while self.peek().kind != Kind::Semicolon {
            operands.push(self.operand()?);
            if !self.eat(Kind::Comma) {
                break;
            }
        }
        let end = self.expect(Kind::Semicolon)?;
        let text = self.text[first.start..=end.start].split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Instruction {
            line: first.line,
            text: text.into(),
            source: self.source,
            guard,
            opcode,
            modifiers,
            operands,
        })
    }

    fn operands_until(&mut self, end: Kind) -> Read<Vec<Operand>> {
        self.depth += 1;
        if self.depth > 64 {
            return self.fail("more than 64 operands in each other".into());
        }
        let mut found = Vec::new();
        while self.peek().kind != end {
            found.push(self.operand()?);
            if !self.eat(Kind::Comma) {
                break;
            }
        }
        self.expect(end)?;
        self.depth -= 1;
        Ok(found)
    }

    fn operand(&mut self) -> Read<Operand> {
        let token = self.peek();
        match token.kind {
            Kind::OpenBrace => {
                self.next();
                Ok(Operand::Vector(self.operands_until(Kind::CloseBrace)?))
            }
            Kind::OpenParenthesis => {
                self.next();
                Ok(Operand::Group(self.operands_until(Kind::CloseParenthesis)?))
            }
            Kind::OpenBracket => {
                self.next();
                self.address()
            }
            Kind::Not => {
                self.next();
                Ok(Operand::Not(Box::new(Operand::Name(self.word()?))))
            }
            Kind::Minus => {
                self.next();
                if self.peek().kind == Kind::Minus {
                    return self.fail("`-` twice".into());
                }
                Ok(match self.operand()? {
                    Operand::Integer(value) => Operand::Integer(value.wrapping_neg()),
                    Operand::Double(bits) => Operand::Double(bits ^ 1 << 63),
                    _ => return self.fail("`-` should stand before a number".into()),
                })
            }
            Kind::Integer => Ok(Operand::Integer(self.integer()?)),
            Kind::FloatBits => {
                self.next();
                let digits = &token.text[2..];
                let bits = u64::from_str_radix(digits, 16).unwrap_or_default();
                Ok(if digits.len() == 8 { Operand::Single(bits as u32) } else { Operand::Double(bits) })
            }
            Kind::Decimal => {
                self.next();
                Ok(Operand::Double(token.text.parse::<f64>().unwrap_or(f64::NAN).to_bits()))
            }
            Kind::Word => {
                let mut name = self.word()?;
                if self.peek().kind == Kind::Suffix {
                    name = format!("{name}{}", self.next().text).into();
                }
                if self.eat(Kind::Bar) {
                    let second = Operand::Name(self.word()?);
                    return Ok(Operand::Pair(Box::new(Operand::Name(name)), Box::new(second)));
                }
                Ok(Operand::Name(name))
            }
            _ => self.fail(format!("an operand should stand here, and `{}` does", token.text)),
        }
    }

    fn address(&mut self) -> Read<Operand> {
        let base = if self.peek().kind == Kind::Word { Some(self.word()?) } else { None };
        let mut offset = 0i64;
        if base.is_none() || self.eat(Kind::Plus) || self.peek().kind == Kind::Minus {
            let negative = self.eat(Kind::Minus);
            let value = self.integer()? as i64;
            offset = if negative { value.wrapping_neg() } else { value };
        }
        self.expect(Kind::CloseBracket)?;
        Ok(Operand::Address { base, offset })
    }
}
