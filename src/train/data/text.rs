//! Text: `text("shakespeare.txt", context = 64)` cuts a file into pieces of so many characters, each with what follows.
//!
//! What enters: a UTF-8 file. What leaves: `tokens: i32[context]` and `next: i32[context]`, the same characters one further
//! on; the size `vocab`, how many different characters the whole file has; and the vocabulary, for whoever turns numbers
//! back into text. A character's number is its place among all characters of the file in order. Pieces begin `stride`
//! characters apart (`context` if not said). `part = "train"` takes the first nine tenths of the file, `part = "valid"` the
//! rest, or as `split = 0.9` says; the vocabulary is the whole file's in both, so that they fit together.

use super::arguments::Arguments;
use super::{DataError, Dataset, Field, read_file};
use crate::model::DataValue;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Numbers of all pieces together.
const MOST_TOKENS: usize = 1 << 30;

pub fn load(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let path = arguments.file()?;
    let context = arguments.count("context", 1, 64)? as usize;
    let stride = arguments.count("stride", 1, context as u64)? as usize;
    let part = arguments.text("part")?;
    let split = match arguments.value("split") {
        None => 0.9,
        Some(DataValue::Number(x)) if (0.0..=1.0).contains(x) => *x,
        Some(_) => return Err(arguments.error("`split` is a number from 0 to 1, such as `0.9`")),
    };
    let bytes = read_file(&path)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        DataError::at(&path, format!("is not UTF-8 text (byte {})", e.utf8_error().valid_up_to()))
    })?;
    let vocabulary: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
    let number = |c: char| vocabulary.binary_search(&c).expect("every character is in the vocabulary") as i32;
    let all: Vec<i32> = text.chars().map(number).collect();
    let cut = (all.len() as f64 * split) as usize;
    let part = match part {
        None => &all[..],
        Some("train") => &all[..cut],
        Some("valid" | "test") => &all[cut..],
        Some(other) => {
            return Err(arguments.error(format!("`part` is \"train\" or \"valid\", not \"{other}\"")));
        }
    };
    arguments.finish()?;
    let starts: Vec<usize> = (0..part.len().saturating_sub(context)).step_by(stride).collect();
    if starts.is_empty() {
        let text =
            format!("has {} characters here, too few for pieces of {context} and one more", part.len());
        return Err(DataError::at(&path, text));
    }
    if starts.len().saturating_mul(context) > MOST_TOKENS {
        let text = "`context` and `stride` ask for too many pieces; take a greater `stride`";
        return Err(DataError::at(&path, text));
    }
    let pieces = |shift: usize| -> Vec<i32> {
        starts.iter().flat_map(|at| part[at + shift..at + shift + context].iter().copied()).collect()
    };
    let fields =
        vec![Field::i32("tokens", &[context], &pieces(0)), Field::i32("next", &[context], &pieces(1))];
    let mut dataset = Dataset::new(&path.display().to_string(), fields)?;
    dataset.sizes.push(("vocab".into(), vocabulary.len() as i64));
    dataset.vocabulary = Some(Arc::new(vocabulary));
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DataCall;

    #[test]
    fn pieces_and_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "abcabdé").unwrap();
        let load_with = |options: &[(&str, DataValue)]| {
            let named = options.iter().map(|(n, v)| (Some((*n).into()), v.clone(), Default::default()));
            let file = (None, DataValue::Text("a.txt".into()), Default::default());
            let arguments = std::iter::once(file).chain(named).collect();
            let call = DataCall { source: "text".into(), arguments, span: Default::default() };
            load(Arguments::new(&call, folder.path()))
        };
        let (number, word) = (DataValue::Number, |w: &str| DataValue::Text(w.into()));
        let ints = |data: &Dataset, name: &str| {
            bytemuck::cast_slice::<u8, i32>(&data.field(name).unwrap().bytes).to_vec()
        };
        let data = load_with(&[("context", number(3.0))]).unwrap();
        assert_eq!(ints(&data, "tokens"), [0, 1, 2, 0, 1, 3]);
        assert_eq!(ints(&data, "next"), [1, 2, 0, 1, 3, 4]);
        assert_eq!(data.sizes, [("vocab".into(), 5)]);
        let part = |name: &str| {
            load_with(&[("context", number(1.0)), ("part", word(name)), ("split", number(0.6))]).unwrap()
        };
        assert_eq!(ints(&part("train"), "tokens"), [0, 1, 2]);
        assert_eq!((ints(&part("valid"), "tokens"), part("valid").sizes.clone()), (vec![1, 3], data.sizes));
        let refused = |options: &[(&str, DataValue)], why: &str| {
            let error = load_with(options).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(&[("context", number(7.0))], "too few");
        refused(&[("part", word("test set"))], "not \"test set\"");
        refused(&[("split", number(2.0))], "from 0 to 1");
        std::fs::write(folder.path().join("a.txt"), b"ab\xff").unwrap();
        refused(&[("context", number(1.0))], "not UTF-8 text (byte 2)");
    }
}
