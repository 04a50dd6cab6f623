//! `gradc generate RUN`: text from a trained model, on and on from a prompt.

use super::devices::DeviceArguments;
use super::eval::Part;
use super::output::{Failure, say, write};
use super::project::{ModelArguments, Project};
use crate::base::{DType, Dim};
use crate::train::engine::Program;
use crate::train::generate::{Choice, Writer};
use crate::train::run::Trainer;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The weights [default: the run's, when FILE is a run's folder]
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// What the text begins with
    #[arg(long, default_value = "\n", hide_default_value = true)]
    prompt: String,
    /// How many characters to add
    #[arg(long, default_value_t = 500)]
    length: usize,
    /// Above 1 more surprising, below 1 less; 0 takes the likeliest character each time
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Choose among so many likeliest characters; all if 0
    #[arg(long, default_value_t = 0)]
    top_k: usize,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.temperature.is_finite() || arguments.temperature < 0.0 {
        return Err(Failure::Usage("`--temperature` is a number from 0 on".to_string()));
    }
    let project = Project::open(&arguments.model)?;
    let data = project.part(Part::Data)?;
    let Some(vocabulary) = data.vocabulary.clone() else {
        let text = "the model's data are not text; `generate` needs a source such as `text(\"book.txt\", context = 64)`";
        return Err(Failure::Error(text.to_string()));
    };
    let output = output(&project, vocabulary.len())?;
    let number = |c: char| {
        let found = vocabulary.binary_search(&c).map(|i| i as i32);
        found.map_err(|_| {
            Failure::Usage(format!("the text that the model has read has no `{}`", c.escape_debug()))
        })
    };
    let prompt = arguments.prompt.chars().map(number).collect::<Result<Vec<i32>, Failure>>()?;
    if prompt.is_empty() {
        return Err(Failure::Usage(
            "`--prompt` is empty; the first character needs one before it".to_string(),
        ));
    }
    let writer = Writer::new(&project.model, &data.fields, &output);
    let ready = arguments.device.engine(&writer.model, Program::Predict, project.threads)?;
    let mut trainer = Trainer::new(&writer.model, ready.engine, data.clone(), None);
    trainer.load_weights(&project.weights(arguments.weights.as_deref())?)?;
    let choice = Choice {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        seed: project.model.settings.seed,
    };
    if arguments.prompt != "\n" {
        write(&arguments.prompt)?;
    }
    writer.generate(&mut trainer.engine, prompt, arguments.length, &choice, |next| {
        write(vocabulary[next as usize].encode_utf8(&mut [0; 4]))
    })?;
    say("")
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

/// The name of the first prediction, which must be logits for each token.
fn output(project: &Project, vocabulary: usize) -> Result<String, Failure> {
    let graph = &project.model.predict;
    let Some((name, id)) = graph.outputs.first() else {
        return Err(Failure::Error(
            "the train block predicts nothing; add `predict` with the logits".to_string(),
        ));
    };
    let ty = graph.ty(*id);
    let fits = ty.dtype == DType::F32 && ty.rank() == 3 && ty.shape[2] == Dim::from(vocabulary);
    if !fits {
        return Err(Failure::Error(format!(
            "`predict {name}` is `{ty}`, not logits for each character, `f32[batch, context, {vocabulary}]`"
        )));
    }
    Ok(name.to_string())
}
