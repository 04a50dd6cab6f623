//! The commands for NVIDIA GPUs, on machines that have none: what needs no GPU works, and what does says what
//! is missing.
//!
//! With NVRTC (`GRADC_CUDA_PATH`) also what it makes of the kernels; without it those parts say that they are
//! skipped.

mod skip;

use skip::skipped;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::{Command, Output};

const MODEL: &str = "
let units = 16

fn net(x: f32[batch, 6]) -> f32[batch, 3] { x |> dense(units) |> relu |> dropout(rate = 0.2) |> dense(3) }

train net {
    data = synthetic(rows = 40, x: f32[6], label: i32[], classes = 3)
    let guess = net(data.x)
    minimize cross_entropy(guess, data.label) with adam(lr = 1e-2)
    report accuracy(guess, data.label)
    predict softmax(guess)
    batch = 8  steps = 6  seed = 9
}
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("net.model"), MODEL).unwrap();
        Folder(folder)
    }

    fn run(&self, arguments: &[&str], cuda_path: Option<&Path>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradc"));
        command.args(arguments).current_dir(self.0.path()).env("NO_COLOR", "1");
        // Nothing is left behind in the user's folder.
        command.env("GRADC_CACHE", self.0.path().join("cache"));
        if let Some(path) = cuda_path {
            command.env("GRADC_CUDA_PATH", path);
        }
        command.output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, None);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gradc {arguments:?}:\n{errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails where CUDA's libraries are searched in an empty folder.
    fn fail_without_cuda(&self, arguments: &[&str], code: i32, wanted: &str) {
        let nothing = self.0.path().join("nothing");
        std::fs::create_dir_all(&nothing).unwrap();
        let output = self.run(arguments, Some(&nothing));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "gradc {arguments:?}:\n{errors}");
        assert!(errors.contains(wanted), "gradc {arguments:?} does not say {wanted:?}:\n{errors}");
        assert!(!errors.contains("panicked"), "gradc {arguments:?}:\n{errors}");
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.succeed(arguments)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

/// What `gradc devices` finds here of NVRTC.
fn has_nvrtc(folder: &Folder) -> bool {
    let found = !folder.json(&["devices", "--json"])["cuda"]["nvrtc"].is_null();
    if !found {
        skipped("NVRTC is not on this machine");
    }
    found
}

#[test]
fn devices_are_listed_with_what_is_missing() {
    let folder = Folder::new();
    let text = folder.succeed(&["devices"]);
    assert!(text.starts_with("cpu "), "{text}");
    let found = folder.json(&["devices", "--json"]);
    assert!(found["cpu"]["threads"].as_u64().unwrap() > 0);
    let cuda = &found["cuda"];
    let missing = cuda["missing"].to_string();
    assert_eq!(cuda["driver"].is_null(), missing.contains("driver"), "{found}");
    // A folder that is named is the only one that is searched.
    let nothing = folder.0.path().to_str().unwrap();
    let found = folder.json(&["devices", "--json", "--cuda-path", nothing]);
    assert!(found["cuda"]["nvrtc"].is_null() && found["cuda"]["cublaslt"].is_null(), "{found}");
    assert!(found["cuda"]["missing"].to_string().contains("pip install nvidia-cuda-nvrtc"), "{found}");
}

#[test]
fn what_needs_a_gpu_says_what_is_missing() {
    let folder = Folder::new();
    let has_driver = !folder.json(&["devices", "--json"])["cuda"]["driver"].is_null();
    let wanted = if has_driver { "NVRTC" } else { "NVIDIA driver" };
    for arguments in [
        &["train", "net.model", "--device", "cuda"][..],
        &["bench", "net.model", "--device", "cuda:0"],
        &["profile", "net.model", "--device", "cuda"],
        &["tune", "net.model", "--device", "cuda"],
        &["tune", "--forget", "--device", "cuda"],
    ] {
        folder.fail_without_cuda(arguments, 1, wanted);
    }
    folder.fail_without_cuda(&["tune", "net.model"], 2, "tuned on a GPU, not on the device `cpu`");
    folder.fail_without_cuda(&["train", "net.model", "--device", "cuda:x"], 1, "there is: cpu, cuda");
    folder.fail_without_cuda(&["dump", "net.model", "--after", "ptx"], 1, "pip install nvidia-cuda-nvrtc");
    folder.fail_without_cuda(&["build", "net.model", "--emit", "cubin"], 1, "pip install nvidia-cuda-nvrtc");
}

#[test]
fn kernels_are_dumped_as_text() {
    let folder = Folder::new();
    let cuda = folder.succeed(&["dump", "net.model", "--after", "cuda"]);
    assert!(cuda.contains("extern \"C\" __global__ void"), "{cuda}");
    assert_eq!(cuda, folder.succeed(&["dump", "net.model", "--after", "cuda"]), "the text is stable");
    assert_ne!(cuda, folder.succeed(&["dump", "net.model", "--after", "cuda", "--program", "predict"]));
    let step = folder.succeed(&["dump", "net.model", "--after", "step"]);
    assert!(step.contains("meet(arrived);") && step.matches("__global__").count() == 1, "{step}");
    if has_nvrtc(&folder) {
        let ptx = folder.succeed(&["dump", "net.model", "--after", "ptx", "--architecture", "sm_80"]);
        assert!(ptx.contains(".target sm_80") && ptx.contains(".entry"), "{ptx}");
    }
}

#[test]
fn a_build_is_whole_and_the_same_each_time() {
    let folder = Folder::new();
    folder.succeed(&["build", "net.model", "--out", "out"]);
    let manifest: serde_json::Value = serde_json::from_str(&folder.text("out/manifest.json")).unwrap();
    let programs = manifest["programs"].as_array().unwrap();
    let names: Vec<&str> = programs.iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["train", "eval", "predict"]);
    for program in programs {
        let source = folder.text(&format!("out/{}", program["source"].as_str().unwrap()));
        let (buffers, kernels) = (program["buffers"].as_array().unwrap(), &program["kernels"]);
        for kernel in kernels.as_array().unwrap() {
            let name = kernel["name"].as_str().unwrap();
            assert!(source.contains(&format!("{name}(")), "{name} is not in\n{source}");
            assert!(kernel["threads"].as_u64().unwrap() > 0);
        }
        let phases = program["phases"].as_array().unwrap();
        let joints = program["joints"].as_array().unwrap();
        assert_eq!(joints.len(), phases.len());
        for (joint, phase) in joints
            .iter()
            .zip(phases)
            .flat_map(|(of, phase)| of.as_array().unwrap().iter().map(move |joint| (joint, phase)))
        {
            let (name, launches) =
                (joint["function"].as_str().unwrap(), joint["launches"].as_array().unwrap());
            assert!(source.contains(&format!("\n{name}(")), "{name} is not in\n{source}");
            let n_launches = phase.as_array().unwrap().len() as u64;
            assert!(
                launches.len() > 1 && launches.iter().all(|i| i.as_u64().unwrap() < n_launches),
                "{joint}"
            );
        }
        for launch in phases.iter().flat_map(|phase| phase.as_array().unwrap()) {
            let is_known = |kernel: &serde_json::Value| kernel["name"] == launch["kernel"];
            assert!(kernels.as_array().unwrap().iter().any(is_known), "{launch}");
            let arguments = launch["arguments"].as_array().unwrap();
            assert!(arguments.iter().all(|id| id.as_u64().unwrap() < buffers.len() as u64), "{launch}");
        }
        assert!(!program["outputs"].as_array().unwrap().is_empty());
        let step = &program["step"];
        if program["name"] == "train" {
            let source = folder.text(&format!("out/{}", step["source"].as_str().unwrap()));
            assert!(source.contains("\nstep("), "{source}");
            let arguments = step["arguments"].as_array().unwrap();
            assert!(arguments.iter().all(|id| id.as_u64().unwrap() < buffers.len() as u64), "{step}");
        }
    }
    folder.succeed(&["build", "net.model", "--out", "again"]);
    for file in ["manifest.json", "train.cu", "train.step.cu", "eval.cu", "predict.cu"] {
        assert_eq!(folder.text(&format!("out/{file}")), folder.text(&format!("again/{file}")), "{file}");
    }
    if has_nvrtc(&folder) {
        let files =
            ["build", "net.model", "--out", "all", "--emit", "cuda,ptx,cubin", "--architecture", "sm_90"];
        let said = folder.succeed(&files);
        // Of three programs the text and what is made of it, two of them also as one launch.
        assert_eq!(said.lines().count(), 3 * (3 + 2) + 1, "{said}");
        assert!(folder.text("all/train.sm_90.ptx").contains(".target sm_90"));
        let cubin = std::fs::read(folder.0.path().join("all/train.sm_90.cubin")).unwrap();
        assert_eq!(&cubin[..4], b"\x7fELF");
    }
}

/// Answers as gradc does on a machine with a GPU; its losses on the GPU are off by the variable OFF, and steps of the model that FAIL
/// names find no memory.
const PRETENDER: &str = r#"#!/usr/bin/env python3
import json, os, struct, sys
arguments = sys.argv[1:]
value = lambda flag: arguments[arguments.index(flag) + 1] if flag in arguments else None
if arguments[0] == "devices":
    gpu = {"name": "NVIDIA Pretender", "architecture": "sm_90", "bytes": 2**34}
    driver = {"version": "13.0", "gpus": [gpu]} if os.environ["GPUS"] == "1" else None
    missing = [] if driver else ["an NVIDIA driver: none"]
    print(json.dumps({"cuda": {"driver": driver, "nvrtc": {"version": "13.0"}, "cublaslt": None, "missing": missing}}))
elif value("--record"):
    off = float(os.environ["OFF"]) if value("--device") else 0.0
    losses = [2.0 + off] * int(value("--steps"))
    header = json.dumps({"loss": {"dtype": "F32", "shape": [len(losses)], "data_offsets": [0, 4 * len(losses)]}}).encode()
    with open(value("--record"), "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(losses)}f", *losses))
elif arguments[0] == "profile":
    assert value("--device") == "cuda:0", arguments
    # What is timed is not the loss.
    times = {"adamw/weighed.w": 2.0, "weighed": 50.0} if "adamw" in open(arguments[1]).read() else {"normal": 0.25, "anchor": 50.0}
    kernels = [{"scope": scope, "ms": ms} for scope, ms in times.items()]
    print(json.dumps({"kernels": kernels, "peak_gb_per_s": 2000.0, "peak_gflop_per_s": 50000.0}))
else:
    assert value("--device") == "cuda:0", arguments
    row = {"ms_min": 0.03, "ms_median": 0.04, "first_step_ms": 700.0, "peak_bytes": 2**33}
    if "--time-passes" in arguments:
        # The folder of compiled kernels is empty at first.
        mark = os.path.join(os.environ["GRADC_CACHE"], "mark")
        row["first_step_ms"], ms = (700.0, 1.0) if os.path.exists(mark) else (3500.0, 2800.0)
        open(mark, "w").close()
        print(f"plan    41.01 ms  6,732 nodes\n  lower x2   12.63 ms\nmachine code   {ms:.2f} ms\nall   9999.00 ms", file=sys.stderr)
    elif os.environ["FAIL"] in arguments[1]:
        sys.exit("warning: of no account\nerror: a step needs 99 GiB of memory\n  and why")
    print(json.dumps(row))
"#;

#[test]
#[cfg(unix)]
fn figures_go_into_their_section() {
    use std::os::unix::fs::PermissionsExt;
    if !Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success()) {
        skipped("there is no python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (program, results) = (folder.path().join("gradc"), folder.path().join("RESULTS.md"));
    std::fs::write(&program, PRETENDER).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&results, "# Results\n\nof others\n").unwrap();
    let run = |only: &str, gpus: &str, off: &str, fail: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/cuda/run");
        let mut command = Command::new("python3");
        command.arg(script).arg("--gradc").arg(&program).arg("--results").arg(&results);
        command.args(["--only", only]).env("GPUS", gpus).env("OFF", off).env("FAIL", fail);
        // Whatever PyTorch is here has nothing to do with it.
        command.env("CUDA_VISIBLE_DEVICES", "");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (all, nothing) = ("groups,compile,gpt2,mlp-seed,lstm", "no model");
    let read = || std::fs::read_to_string(&results).unwrap();
    let (done, errors) = run(all, "0", "0", nothing);
    assert!(!done && errors.contains("missing an NVIDIA driver"), "{errors}");
    assert_eq!(read(), "# Results\n\nof others\n", "nothing is written");
    let whole = |text: &str| {
        assert!(text.starts_with("# Results\n\nof others\n\n<!-- gpu -->\n## On a GPU\n"), "{text}");
        let machine = "NVIDIA Pretender (sm_90, 16 GiB; driver for CUDA 13.0, NVRTC 13.0, no cuBLASLt)";
        assert_eq!(text.matches(machine).count(), 4, "{text}");
        assert_eq!(text.matches("## On a GPU").count(), 1, "{text}");
    };
    for _ in 0..2 {
        let (done, errors) = run(all, "1", "0.0001", nothing);
        assert!(done, "{errors}");
        let text = read();
        whole(&text);
        for wanted in [
            // 512 MiB at 2,000 GB/s, and 28 bytes a parameter.
            "| softmax, forward | 0.2500 | 0.2684 | 1.07 | 0.80; 0.92 | 2147 |",
            "| AdamW of 124,475,904 | 2.0000 | 1.7427 | 0.87 | 1.3 ms | 1743 |",
            "| nothing compiled before | 3.50 | 3.0 | 0.041 | 2.800 | 0.000 | 0.000 | 0.659 |",
            "| all compiled before | 0.70 | 0.3 | 0.041 | 0.001 |",
            "| gradc | 546,133,333 | 0.03 | 0.04 |",
            "| `lstm`, gradc | 0.0300 | 0.0400 |",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        assert!(!text.contains("Failed"), "{text}");
    }
    // What fails has its reason where its figures were, and costs no other.
    let (done, errors) = run(all, "1", "0", "gpt2");
    assert!(!done && errors.contains("gpt2: gradc: error: a step needs 99 GiB of memory"), "{errors}");
    let text = read();
    whole(&text);
    assert!(text.contains("Failed:\n\n- gradc: error: a step needs 99 GiB of memory\n"), "{text}");
    assert!(text.contains("| `lstm`, gradc |") && !text.contains("| gradc |"), "{text}");
    let (done, errors) = run("lstm", "1", "0.1", nothing);
    assert!(!done && errors.contains("not the same computation"), "{errors}");
    let text = read();
    whole(&text);
    assert!(text.contains("- `lstm`, gradc: not the same computation: losses differ by 5.0e-02"), "{text}");
    assert!(!text.contains("| `lstm`, gradc |") && text.contains("| all compiled before |"), "{text}");
}

/// A folder that stands for a machine with a GPU: a driver (`tests/fake_driver/driver.c`) that refuses what a real one does and says what is
/// not given back. Its kernels do nothing, so that all numbers are zero.
#[cfg(target_os = "linux")]
struct Pretended {
    folder: Folder,
    /// Where CUDA's libraries are, if they are not where they are searched anyway.
    cuda: Option<PathBuf>,
}

#[cfg(target_os = "linux")]
impl Pretended {
    /// Nothing, and a line that says why, where kernels cannot be compiled, or C cannot.
    fn new() -> Option<Pretended> {
        let folder = Folder::new();
        let found = has_nvrtc(&folder).then_some(Pretended { folder, cuda: None })?;
        found.compile("driver.c", "libcuda.so.1", &[]).then_some(found)
    }

    /// The same with a library of products (`tests/fake_driver/cublaslt.c`), which lies in a tree of its own with NVRTC.
    fn with_library() -> Option<Pretended> {
        let mut found = Pretended::new()?;
        let nvrtc = &found.folder.json(&["devices", "--json"])["cuda"]["nvrtc"];
        let tree = found.path("tree");
        std::fs::create_dir(&tree).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, tree.join(name)).unwrap();
        link(Path::new(nvrtc["path"].as_str().unwrap()).parent().unwrap(), "lib");
        if let Some(headers) = nvrtc["headers"].as_str() {
            link(Path::new(headers), "include");
        }
        // The driver by its path, which the loader knows by its name when it is loaded.
        let driver = found.path("libcuda.so.1");
        let driver = driver.to_str().unwrap();
        let options = [driver, "-Wl,-soname,libcublasLt.so.13"];
        assert!(found.compile("cublaslt.c", "tree/libcublasLt.so.13", &options));
        found.cuda = Some(tree);
        Some(found)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.path().join(name)
    }

    fn compile(&self, source: &str, library: &str, options: &[&str]) -> bool {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_driver").join(source);
        let name = format!("-Wl,-soname,{library}");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", &name, "-o"]).arg(self.path(library)).arg(source).args(options);
        match command.status() {
            Ok(status) => assert!(status.success(), "{library} does not compile"),
            Err(_) => skipped("there is no C compiler"),
        }
        self.path(library).exists()
    }

    /// The exit code, standard output and standard error.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradc"));
        command.args(arguments).current_dir(self.folder.0.path()).env("NO_COLOR", "1");
        command.env("LD_LIBRARY_PATH", self.folder.0.path()).env("GRADC_CACHE", self.path("cache"));
        if let Some(cuda) = &self.cuda {
            command.env("GRADC_CUDA_PATH", cuda);
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Succeeds with nothing that is not given back: what it has said, and what the driver has launched.
    fn in_order(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
        let (code, said, errors) = self.run(arguments, variables);
        assert_eq!(code, Some(0), "gradc {arguments:?}:\n{errors}");
        let last = errors.lines().last().unwrap_or_default().to_string();
        assert!(last.starts_with("fake driver: ") && last.ends_with("; done"), "{arguments:?}: {errors}");
        assert!(!errors.contains("not given back"), "{arguments:?}: {errors}");
        (said, last)
    }

    fn fails(&self, arguments: &[&str], variables: &[(&str, &str)], wanted: &str) {
        let (code, _, errors) = self.run(arguments, variables);
        assert!(code == Some(1) && errors.contains(wanted), "{arguments:?}, without {wanted:?}: {errors}");
    }
}

/// All that gradc asks of a driver.
#[test]
#[cfg(target_os = "linux")]
fn what_is_asked_of_a_driver_is_in_order() {
    let Some(machine) = Pretended::new() else { return };
    let in_order = |arguments: &[&str]| {
        let (said, launched) = machine.in_order(arguments, &[]);
        assert!(!launched.contains(" 0 kernels"), "{launched}");
        said
    };
    let (_, devices, _) = machine.run(&["devices"], &[]);
    assert!(devices.contains("cuda:0") && devices.contains("Pretender, sm_90"), "{devices}");
    in_order(&["train", "net.model", "--device", "cuda", "--out", "run"]);
    let n_cached = || std::fs::read_dir(machine.path("cache")).unwrap().count();
    let n_first = n_cached();
    in_order(&["train", "net.model", "--device", "cuda:0", "--out", "again", "--checkpoint", "0"]);
    assert!(n_first > 0 && n_cached() == n_first, "what was compiled is compiled once");
    in_order(&["eval", "run", "--device", "cuda", "--on", "data"]);
    in_order(&["predict", "run", "--device", "cuda", "--on", "data", "--out", "guess.npy"]);
    in_order(&["bench", "net.model", "--device", "cuda", "--seconds", "0.05"]);
    let profile = in_order(&["profile", "net.model", "--device", "cuda", "--seconds", "0.01"]);
    assert!(profile.contains("a step as one launch takes") && profile.contains("Pretender"), "{profile}");
    let in_bf16 = ["profile", "net.model", "--device", "cuda", "--seconds", "0.01", "--precision", "bf16"];
    assert!(in_order(&in_bf16).contains(" of products in bf16), "), "a floor is of what makes the product");
    // The fake GPU has a quarter of a gibibyte.
    let too_large = ["train", "net.model", "--device", "cuda", "--set", "units=40000000"];
    machine.fails(&too_large, &[], "of memory (4.5 GiB of variables, ");
    machine.fails(&too_large, &[], "), and cuda:0 (Pretender) has 256.0 MiB to give");
    let other = ["train", "net.model", "--device", "cuda:1"];
    machine.fails(&other, &[], "there is no GPU `cuda:1`; this machine has 1");
    // Without cuBLASLt there is nothing to choose, wherever it may be on the machine.
    let mut alone = machine;
    alone.cuda = Some(alone.path("alone"));
    std::fs::create_dir(alone.path("alone")).unwrap();
    let nvrtc =
        alone.folder.json(&["devices", "--json"])["cuda"]["nvrtc"]["path"].as_str().unwrap().to_string();
    for library in std::fs::read_dir(Path::new(&nvrtc).parent().unwrap()).unwrap().flatten() {
        if library.file_name().to_string_lossy().starts_with("libnvrtc") {
            std::os::unix::fs::symlink(library.path(), alone.path("alone").join(library.file_name()))
                .unwrap();
        }
    }
    alone.fails(&["tune", "net.model", "--device", "cuda"], &[], "there is no cuBLASLt that can be used");
}

/// Layers whose products are worth kernels of their own.
#[cfg(target_os = "linux")]
const WIDE: &str = "
fn net(x: f32[batch, 64]) -> f32[batch, 3] { x |> dense(128) |> tanh |> dense(160) |> tanh |> dense(3) }

train net {
    data = synthetic(rows = 192, x: f32[64], label: i32[], classes = 3)
    let guess = net(data.x)
    minimize cross_entropy(guess, data.label) with sgd(lr = 0.1)
    predict softmax(guess)
    batch = 96  steps = 3  seed = 5
}
";

/// Of three algorithms that cuBLASLt offers, the third is the fastest: it is found, kept, and used from then on, until it is forgotten.
#[test]
#[cfg(target_os = "linux")]
fn products_are_made_as_they_were_tuned() {
    let Some(machine) = Pretended::with_library() else { return };
    std::fs::write(machine.path("net.model"), WIDE).unwrap();
    let launched = |arguments: &[&str], variables: &[(&str, &str)]| machine.in_order(arguments, variables).1;
    // Products by each algorithm in two epochs of training.
    let products = |variables: &[(&str, &str)]| {
        let run = machine.path("run");
        let _ = std::fs::remove_dir_all(&run);
        let launched = launched(&["train", "net.model", "--device", "cuda", "--out", "run"], variables);
        let counts =
            launched.split("products by algorithm ").nth(1).map(|rest| rest.split(';').next().unwrap());
        counts.map_or([0; 3], |counts| {
            let mut counts = counts.split(' ').map(|n| n.parse::<u64>().unwrap());
            std::array::from_fn(|_| counts.next().unwrap())
        })
    };
    let kept = || {
        let files = std::fs::read_dir(machine.path("cache")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == "json")).collect::<Vec<_>>()
    };
    let n_tuned = || {
        let (_, found, _) = machine.run(&["devices", "--json"], &[]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        found["cuda"]["driver"]["gpus"][0]["tuned_products"].as_u64().unwrap()
    };
    let devices = || machine.run(&["devices"], &[]).1;
    let [n, second, third] = products(&[]);
    assert!(
        n > 0 && (second, third) == (0, 0),
        "the first is taken where nothing is chosen: {n} {second} {third}"
    );
    assert!(kept().is_empty() && n_tuned() == 0 && devices().contains("no products tuned"), "{}", devices());

    let tune = ["tune", "net.model", "--device", "cuda"];
    let (said, _) = machine.in_order(&tune, &[]);
    let rows: Vec<&str> = said.lines().filter(|line| line.contains(" f32")).collect();
    // Behind a library's product another kernel does what an epilogue would: here that is slower.
    let (followed, alone): (Vec<&str>, Vec<&str>) = rows.iter().partition(|row| row.contains(", with maps"));
    assert!(followed.len() == 2 && alone.len() == 1, "{said}");
    let are = |rows: &[&str], what: &str| rows.iter().all(|row| row.contains(what));
    assert!(are(&alone, "8.00      10.00       5.00  algorithm 3 of 3   train 1 eval 1 predict 1"), "{said}");
    assert!(are(&followed, "18.00      10.00      10.00  generated kernel   train 1 "), "{said}");
    assert!(alone[0].ends_with("160 x 96 x 128 NN f32"), "{said}");
    assert!(said.contains(&format!("{0} of {0} are made faster", rows.len())), "{said}");
    assert_eq!((kept().len(), n_tuned()), (1, rows.len() as u64));
    assert!(devices().contains(&format!("Pretender, sm_90, 256.0 MiB, {} products tuned", rows.len())));
    assert!(said.contains(kept()[0].to_str().unwrap()), "{said}");
    let [_, _, n_chosen] = products(&[]);
    assert!(0 < n_chosen && n_chosen < n && products(&[]) == [0, 0, n_chosen], "{n_chosen} of {n}");
    for others in [
        &["eval", "run", "--device", "cuda", "--on", "data"][..],
        &["predict", "run", "--device", "cuda", "--on", "data", "--out", "guess.npy"],
        &["bench", "net.model", "--device", "cuda", "--seconds", "0.05"],
        &["profile", "net.model", "--device", "cuda", "--seconds", "0.01"],
    ] {
        let launched = launched(others, &[]);
        assert!(launched.contains("products by algorithm 0 0 "), "{others:?}: {launched}");
    }
    assert_eq!(products(&[("FAKE_REFUSED", "2")]), [n_chosen, 0, 0], "a choice that fails is as none");
    let (_, _, warned) = machine
        .run(&["bench", "net.model", "--device", "cuda", "--seconds", "0.05"], &[("FAKE_REFUSED", "2")]);
    assert!(warned.contains("warning: cuBLASLt refuses what was chosen for a product"), "{warned}");

    // Where gradc's own kernels are faster than all, they are chosen; what is refused is not.
    let slow = [("FAKE_MS", "0.02 0.03 0.04")];
    let (said, _) = machine.in_order(&[&tune[..], &["--json"]].concat(), &slow);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["products"].as_array().unwrap().len(), rows.len());
    for product in said["products"].as_array().unwrap() {
        assert_eq!(product["chosen"], "generated kernel", "{product}");
        let ms = |key: &str| product[key].as_f64().unwrap();
        let behind = if product["product"]["fused"].is_null() { 0.0 } else { 0.01 };
        let first = 0.02 + behind;
        assert!((ms("first_ms") - first).abs() < 1e-5 && (ms("best_ms") - 0.01).abs() < 1e-5, "{product}");
    }
    assert_eq!(products(&[]), [0; 3]);
    machine.in_order(&tune, &[("FAKE_REFUSED", "2")]);
    assert_eq!(products(&[]), [n_chosen, 0, 0]);

    // What is damaged is said and left alone until somebody tunes again.
    let whole = std::fs::read(&kept()[0]).unwrap();
    let damaged = [&whole[..whole.len() / 2], b"{}", b"\xff"];
    for text in damaged {
        std::fs::write(&kept()[0], text).unwrap();
        assert_eq!((products(&[]), n_tuned()), ([n, 0, 0], 0));
        for arguments in [&["devices"][..], &["bench", "net.model", "--device", "cuda", "--seconds", "0.01"]]
        {
            let (_, _, errors) = machine.run(arguments, &[]);
            assert!(
                errors.contains("warning: ") && errors.contains("is ignored: "),
                "{arguments:?}: {errors}"
            );
        }
        assert_eq!(std::fs::read(&kept()[0]).unwrap(), text);
    }
    machine.in_order(&tune, &[]);
    assert_eq!((products(&[]), n_tuned()), ([0, 0, n_chosen], rows.len() as u64));

    let (said, _) = machine.in_order(&["tune", "--forget", "--device", "cuda"], &[]);
    assert!(said.contains(&format!("cuda:0 (Pretender): {} products forgotten", rows.len())), "{said}");
    assert!(kept().is_empty() && products(&[]) == [n, 0, 0] && n_tuned() == 0);
    // A last batch that is shorter has products of its own.
    let of_last = [&tune[..], &["--set", "batch=128"]].concat();
    let (said, _) = machine.in_order(&of_last, &[]);
    assert!(said.lines().any(|line| line.ends_with("160 x 128 x 128 NN f32")), "{said}");
    assert!(said.lines().any(|line| line.ends_with("160 x 64 x 128 NN f32, of the last 64")), "{said}");
    machine.in_order(&["tune", "--forget", "--device", "cuda"], &[]);
    machine.fails(&tune, &[("GRADC_CACHE", "")], "there is no folder to keep choices in");
}
