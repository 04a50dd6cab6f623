//! The command line as its users see it: `tests/cli/*.trycmd`, and what a transcript cannot say.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gradc");

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}

/// A small model on real digits, with all that a run carries along: random numbers, states, an optimizer's moments.
const MODEL: &str = "
fn net(image: f32[batch, 784]) -> f32[batch, 10] { image |> dense(16) |> batch_norm |> relu |> dropout(rate = 0.2) |> dense(10) }

train digits {
    data = idx(\"DATA/mnist-test\")
    test = idx(\"DATA/mnist-test\")
    let guess = net(flatten(data.image) / 255)
    minimize cross_entropy(guess, data.label) with adam(lr = 1e-3)
    report accuracy(guess, data.label)
    predict softmax(guess)
    batch = 24  steps = 8  seed = 5
}
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
        let model = MODEL.replace("DATA", data.to_str().unwrap());
        std::fs::write(folder.path().join("digits.model"), model).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.0.path()).env("NO_COLOR", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "gradc {arguments:?}:\n{errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn fail(&self, arguments: &[&str], code: i32, wanted: &str) {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "gradc {arguments:?}:\n{errors}");
        assert!(errors.contains(wanted), "gradc {arguments:?} does not say {wanted:?}:\n{errors}");
        assert!(!errors.contains("panicked"), "gradc {arguments:?}:\n{errors}");
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn metrics_without_time(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| line.split(",\"seconds\"").next().unwrap_or(line).to_string()).collect()
}

#[test]
fn training_is_the_same_for_any_number_of_threads_and_after_a_kill() {
    let folder = Folder::new();
    // An epoch has 42 steps: the run is killed before and after its first end.
    let train = |out: &str, threads: &str| {
        let arguments = ["train", "digits.model", "--steps", "60", "--out", out, "--threads", threads];
        folder.command(&[&arguments[..], &["--checkpoint", "0"]].concat())
    };
    for threads in ["1", "2", "3", "8"] {
        assert!(train(&format!("run-{threads}"), threads).output().unwrap().status.success());
    }
    let equals_the_first = |out: &str| {
        let (weights, metrics) = (format!("{out}/weights.safetensors"), format!("{out}/metrics.jsonl"));
        assert_eq!(folder.bytes(&weights), folder.bytes("run-1/weights.safetensors"), "{out}");
        let first = metrics_without_time(&folder.bytes("run-1/metrics.jsonl"));
        assert_eq!(metrics_without_time(&folder.bytes(&metrics)), first, "{out}");
        assert_eq!(first.len(), 2);
    };
    for threads in ["2", "3", "8"] {
        equals_the_first(&format!("run-{threads}"));
    }
    let mut n_killed = 0;
    for (turn, wait) in [0, 20, 60, 150].into_iter().enumerate() {
        let out = format!("killed-{turn}");
        let mut child = train(&out, "2").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !folder.path(&out).join("checkpoint.safetensors").exists() {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it began");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        n_killed += usize::from(!folder.path(&out).join("weights.safetensors").exists());
        folder.succeed(&["train", "--resume", &out, "--threads", "3"]);
        equals_the_first(&out);
    }
    assert!(n_killed > 0, "every run was faster than its kill");
}

#[test]
fn programs_are_timed_and_first_steps_recorded() {
    let folder = Folder::new();
    let mut flops = Vec::new();
    for program in ["train", "eval", "predict"] {
        let json =
            folder.succeed(&["bench", "digits.model", "--program", program, "--seconds", "0", "--json"]);
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(found["ms_min"].as_f64().unwrap() > 0.0, "{json}");
        flops.push(found["flops"].as_u64().unwrap());
    }
    assert!(flops[0] > flops[1] && flops[1] > flops[2], "{flops:?}");

    folder.succeed(&["bench", "digits.model", "--record", "first.safetensors", "--steps", "3"]);
    let bytes = folder.bytes("first.safetensors");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).shape().to_vec();
    assert_eq!(shape("data.image"), [72, 28, 28]);
    assert_eq!(shape("data.label"), [72]);
    assert_eq!(shape("before.net.dense.0.w"), [784, 16]);
    assert_eq!(shape("loss"), [3]);
    assert!(file.names().iter().all(|name| !name.contains("adam")), "{:?}", file.names());
    let losses = file.tensor("loss").unwrap();
    let losses: Vec<f32> = bytemuck::pod_collect_to_vec(losses.data());
    // All batches are full, so the epoch's loss is the mean of the steps'.
    folder.succeed(&["train", "digits.model", "--steps", "3", "--log", "log.jsonl"]);
    let log = String::from_utf8(folder.bytes("log.jsonl")).unwrap();
    let epoch = log.lines().find(|line| line.contains("\"event\":\"epoch\"")).unwrap();
    let loss = serde_json::from_str::<serde_json::Value>(epoch).unwrap()["loss"].as_f64().unwrap();
    let mean = losses.iter().map(|l| f64::from(*l)).sum::<f64>() / 3.0;
    assert!((loss - mean).abs() < 1e-12, "{loss} and {mean}");
}

/// The kernels' times, the waiting and what comes between steps are the whole, and so are the ops' times and the rest.
#[test]
fn a_profile_adds_up_and_its_trace_can_be_read() {
    let folder = Folder::new();
    for threads in ["1", "3"] {
        let mut arguments = vec!["profile", "digits.model", "--seconds", "0.05", "--threads", threads];
        let text = folder.succeed(&arguments);
        assert!(text.contains("net.dense.0") && text.contains("waiting"), "{text}");
        arguments.extend(["--json", "--all", "--trace", "trace.json", "--peak", "100", "--bandwidth", "20"]);
        let json = folder.succeed(&arguments);
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        let sum = |rows: &str, of: &str| -> f64 {
            found[rows].as_array().unwrap().iter().map(|row| row[of].as_f64().unwrap()).sum()
        };
        let rest = ["waiting", "between_steps"].map(|part| found[part]["share"].as_f64().unwrap());
        let shares = sum("kernels", "share") + rest[0] + rest[1];
        assert!((shares - 1.0).abs() < 1e-3, "{shares}: {json}");
        assert!((sum("kernels", "share") - sum("ops", "share")).abs() < 1e-9, "{json}");
        assert_eq!(sum("kernels", "flops"), sum("ops", "flops"));
        assert!(sum("kernels", "bytes") > 0.0 && sum("kernels", "bytes") <= sum("ops", "bytes"));

        let trace: serde_json::Value = serde_json::from_slice(&folder.bytes("trace.json")).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let slices: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        let is_tile = |event: &&&serde_json::Value| event["args"]["kernel"].is_u64();
        let is_op = |event: &&&serde_json::Value| event["args"]["scope"].is_string();
        let steps = slices.iter().filter(|event| event["args"]["batch"].is_u64()).count();
        let (tiles, ops) = (slices.iter().filter(is_tile).count(), slices.iter().filter(is_op).count());
        assert!(steps >= 5 && tiles >= 4 * steps && ops > tiles, "{steps} steps, {tiles} tiles, {ops} ops");
    }
    folder.fail(&["profile", "digits.model", "--peak", "0"], 2, "more than 0");
}

#[test]
fn a_run_can_be_evaluated_and_used() {
    let folder = Folder::new();
    let log = folder.succeed(&["train", "digits.model", "--json", "--log", "log.jsonl"]);
    assert!(log.lines().all(|line| line.starts_with("{\"event\":")), "{log}");
    assert_eq!(folder.bytes("log.jsonl"), log.as_bytes());
    assert!(folder.path("runs/digits-1/weights.safetensors").exists());
    folder.succeed(&["train", "digits.model", "--steps", "3"]);
    assert!(folder.path("runs/digits-2").exists());

    let eval = folder.succeed(&["eval", "runs/digits-1", "--json"]);
    assert!(eval.contains("\"accuracy\":0."), "{eval}");
    folder.succeed(&["predict", "runs/digits-1", "--out", "guess.npy"]);
    folder.succeed(&["predict", "runs/digits-1", "--out", "guess.jsonl"]);
    assert!(folder.bytes("guess.npy").len() > 40_000);
    assert_eq!(folder.bytes("guess.jsonl").iter().filter(|b| **b == b'\n').count(), 1000);
    folder.succeed(&[
        "train",
        "digits.model",
        "--weights",
        "runs/digits-1/weights.safetensors",
        "--steps",
        "1",
    ]);
}

#[test]
fn what_is_wrong_is_said() {
    let folder = Folder::new();
    folder.succeed(&["train", "digits.model", "--out", "run", "--steps", "4"]);
    let run = ["train", "--resume", "run"];
    std::fs::write(folder.path("bad.safetensors"), "no").unwrap();
    std::fs::write(folder.path("file"), "").unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["train", "nowhere.model"], 1, "cannot read"),
        (&["train", "digits.model", "--out", "run"], 1, "holds a run already"),
        (&["train", "digits.model", "--out", "file/x"], 1, "cannot make"),
        (&["train", "digits.model", "--weights", "bad.safetensors", "--out", "a"], 1, "no safetensors file"),
        (&["train", "digits.model", "--device", "tpu"], 1, "there is: "),
        (&["train", "digits.model", "--threads", "0"], 2, "from 1 to"),
        (&["train", "digits.model", "--set", "nonsense"], 2, "NAME=VALUE"),
        (&["train", "digits.model", "--log", "no/such/log"], 1, "cannot write"),
        (&["train", "--resume", "nowhere"], 1, "not the folder of a run"),
        (&["train"], 2, "name a model"),
        (&["eval", "digits.model"], 2, "which weights?"),
        (&["predict", "run", "--out", "x.xlsx"], 2, "not a kind of file"),
        (&["bogus"], 2, "unrecognized subcommand"),
    ];
    for (arguments, code, wanted) in cases {
        folder.fail(arguments, *code, wanted);
    }
    let checkpoint = folder.path("run/checkpoint.safetensors");
    let whole = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    folder.fail(&run, 1, "damaged");
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    std::fs::write(&checkpoint, &flipped).unwrap();
    folder.fail(&run, 1, "checksum");
    std::fs::write(&checkpoint, &whole).unwrap();
    folder.succeed(&run);
    std::fs::write(folder.path("run/run.json"), "{").unwrap();
    folder.fail(&run, 1, "damaged");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = Folder::new();
    for arguments in [&["explain"][..], &["plan", "digits.model"], &["train", "digits.model", "--steps", "2"]]
    {
        let mut child =
            folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{errors}");
        assert!(output.status.success(), "{arguments:?}: {errors}");
    }
}

/// Python's `safetensors` reads what a run writes. Skipped where Python or the package is not there.
#[test]
fn python_reads_the_weights() {
    let script = "import sys\nfrom safetensors.numpy import load_file\nfor n, t in sorted(load_file(sys.argv[1]).items()): print(n, t.dtype, t.shape)";
    let probe = Command::new("python3").args(["-c", "import safetensors.numpy"]).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: python3 has no package safetensors");
        return;
    }
    let folder = Folder::new();
    folder.succeed(&["train", "digits.model", "--out", "run", "--steps", "2"]);
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(folder.path("run/weights.safetensors"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("net.dense.0.w float32 (784, 16)"), "{text}");
}

#[test]
fn the_library_is_rendered() {
    let folder = Folder::new();
    let markdown = folder.succeed(&["doc", "--markdown"]);
    folder.succeed(&["doc", "--html", "page"]);
    let html = String::from_utf8(folder.bytes("page/index.html")).unwrap();
    for (_, text) in gradc_dsl::STD {
        for page in gradc_dsl::page::pages(text).iter().filter(|page| page.public()) {
            assert!(markdown.contains(&format!("\n### {}\n", page.name)), "{}", page.name);
            assert!(html.contains(&format!("<h3 id=\"{}\">", page.name)), "{}", page.name);
        }
    }
    for tag in ["pre", "p", "code", "a", "details", "h3"] {
        let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
        let count = |part: &str| html.split(part).skip(1).filter(|rest| rest.starts_with(['>', ' '])).count();
        assert_eq!(count(&opened), html.matches(&closed).count(), "{tag}");
    }
}

/// A small character model trains, and goes on from a prompt in the same way each time.
#[test]
fn text_is_generated() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ab.txt"), "abc".repeat(200)).unwrap();
    let model = "
fn net(tokens: i32[batch, t], vocab: dim) -> f32[batch, t, vocab] { embedding(tokens, vocab, 8) |> dense(vocab) }

train letters {
    data = text(\"ab.txt\", context = 8)
    let guess = net(data.tokens, data.vocab)
    minimize cross_entropy(guess, data.next) with adam(lr = 0.1)
    predict next = guess
    batch = 16  epochs = 20  seed = 3
}
";
    std::fs::write(path("ab.model"), model).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(folder.path()).env("NO_COLOR", "1").output().unwrap()
    };
    let text = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    text(&["train", "ab.model", "--out", "run"]);
    let likeliest = ["generate", "run", "--prompt", "b", "--length", "11", "--temperature", "0"];
    assert_eq!(text(&likeliest), "bcabcabcabca\n");
    let wild = |seed: &str, threads: &str| {
        text(&[
            "generate",
            "run",
            "--prompt",
            "b",
            "--length",
            "40",
            "--temperature",
            "9",
            "--seed",
            seed,
            "--threads",
            threads,
        ])
    };
    assert_eq!(wild("1", "1"), wild("1", "3"));
    assert_ne!(wild("1", "1"), wild("2", "1"));
    for (arguments, why) in [
        (&["generate", "run", "--prompt", "x"][..], "has no `x`"),
        (&["generate", "run", "--temperature=-1"], "from 0 on"),
        (&["generate", "ab.model", "--prompt", "b"], "which weights?"),
    ] {
        let output = run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(why), "{arguments:?}: {errors}");
    }
}
