//! Tables of good and broken sources.

use super::*;
use crate::base::Dim;
use crate::model::DataValue;
use gradc_dsl::Span;
use std::io::Write;

fn call(source: &str, arguments: &[(&str, DataValue)]) -> DataCall {
    let arguments = arguments
        .iter()
        .map(|(name, value)| {
            ((!name.is_empty()).then(|| SmolStr::from(*name)), value.clone(), Span::default())
        })
        .collect();
    DataCall { source: source.into(), arguments, span: Span::default() }
}

fn text(text: &str) -> DataValue {
    DataValue::Text(text.to_string())
}

fn idx_bytes(code: u8, sizes: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn npy_bytes(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Loads with `files` in the model's folder.
fn load(files: &[(&str, &[u8])], call: &DataCall) -> Result<Arc<Dataset>, DataError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    Data::in_folder(folder.path()).load(call)
}

fn shape(dataset: &Dataset) -> String {
    let fields: Vec<String> = dataset.fields.iter().map(|f| format!("{}: {}", f.name, f.ty)).collect();
    format!("{} x {}", dataset.n_examples, fields.join(", "))
}

#[test]
fn good_sources_have_the_right_types_and_values() {
    let images = idx_bytes(8, &[2, 1, 2], &[1, 2, 3, 4]);
    let labels = gzip(&idx_bytes(8, &[2], &[7, 9]));
    let files: &[(&str, &[u8])] = &[("d-images.idx3-ubyte", &images), ("d-labels.idx1-ubyte.gz", &labels)];
    let dataset = load(files, &call("idx", &[("", text("d"))])).unwrap();
    assert_eq!(shape(&dataset), "2 x image: u8[1, 2], label: u8[]");
    assert_eq!(
        (&dataset.fields[0].bytes[..], &dataset.fields[1].bytes[..]),
        (&[1, 2, 3, 4][..], &[7, 9][..])
    );

    let wide = idx_bytes(0x0b, &[2], &[0xff, 0xfe, 0x01, 0x00]);
    let dataset = load(&[("y", &wide)], &call("idx", &[("label", text("y"))])).unwrap();
    assert_eq!(dataset.fields, [Field::i32("label", &[], &[-2, 256])]);

    let table: &[u8] = b"\xef\xbb\xbfa, b ,kind\r\n1,2.5,dog\r\n-3e1,4,cat\r\n";
    let dataset =
        load(&[("t.csv", table)], &call("csv", &[("", text("t.csv")), ("label", text("kind"))])).unwrap();
    let wanted = [Field::f32("features", &[2], &[1.0, 2.5, -30.0, 4.0]), Field::i32("label", &[], &[1, 0])];
    assert_eq!(dataset.fields, wanted);
    let options = [("", text("t.csv")), ("features", text("b")), ("label", text("a"))];
    let numbers: &[u8] = b"a,b\n3,1\n5,2\n";
    assert_eq!(
        load(&[("t.csv", numbers)], &call("csv", &options)).unwrap().fields[1],
        Field::i32("label", &[], &[3, 5])
    );
    let plain = load(&[("t.csv", numbers)], &call("csv", &[("", text("t.csv"))])).unwrap();
    assert_eq!(shape(&plain), "2 x a: f32[], b: f32[]");

    let doubles = npy_bytes(">f8", "(2, 1)", &[1.5f64.to_be_bytes(), (-2f64).to_be_bytes()].concat());
    let longs = npy_bytes("<i8", "(2,)", &[3i64.to_le_bytes(), (-4i64).to_le_bytes()].concat());
    let files: &[(&str, &[u8])] = &[("x.npy", &doubles), ("y.npy", &longs)];
    let dataset = load(files, &call("npy", &[("image", text("x.npy")), ("label", text("y.npy"))])).unwrap();
    assert_eq!(dataset.fields, [Field::f32("image", &[1], &[1.5, -2.0]), Field::i32("label", &[], &[3, -4])]);

    let image = DataValue::Type(TensorType::new(DType::F32, [Dim::from(3)]));
    let label = DataValue::Type(TensorType::scalar(DType::I32));
    let options = [("rows", DataValue::Number(50.0)), ("image", image.clone()), ("label", label.clone())];
    let made_up = load(&[], &call("synthetic", &options)).unwrap();
    assert_eq!(shape(&made_up), "50 x image: f32[3], label: i32[]");
    assert_eq!(made_up, load(&[], &call("synthetic", &options)).unwrap());

    let given = vec![Field::f32("image", &[3], &[0.0; 6]), Field::i32("label", &[], &[1, 2])];
    let data = Data::default().with_memory("data", given).unwrap();
    let memory = call("memory", &[("image", image), ("label", label)]);
    assert_eq!(data.load(&memory).unwrap().n_examples, 2);
    assert_eq!(Data::default().info(&memory).unwrap().fields.len(), 2);
}

#[test]
fn broken_sources_are_refused_with_a_reason() {
    let images = idx_bytes(8, &[2, 1, 2], &[1, 2, 3, 4]);
    let labels = idx_bytes(8, &[3], &[7, 9, 1]);
    let floats = idx_bytes(0x0d, &[2], &[1.0f32.to_be_bytes(), f32::NAN.to_be_bytes()].concat());
    let huge = idx_bytes(8, &[u32::MAX, u32::MAX, u32::MAX], &[]);
    let packed = gzip(&images);
    let cut = &packed[..packed.len() - 6];
    let too_big = npy_bytes("<i8", "(1,)", &(1i64 << 40).to_le_bytes());
    let objects = npy_bytes("|O", "(1,)", &[0; 8]);
    let short = npy_bytes("<f4", "(3,)", &[0; 8]);
    let scalar = npy_bytes("<f4", "()", &[0; 4]);
    let idx = |file: &str| call("idx", &[("x", text(file))]);
    let csv = |options: &[(&str, DataValue)]| call("csv", &[&[("", text("f"))], options].concat());
    let npy = call("npy", &[("x", text("f"))]);
    let npz = call("npz", &[("", text("f"))]);
    let cases: Vec<(&str, Vec<u8>, DataCall, &str)> = vec![
        ("missing", Vec::new(), idx("nowhere"), "cannot read"),
        ("magic", b"hello, world".to_vec(), idx("f"), "is no IDX file"),
        ("empty", Vec::new(), idx("f"), "cut off after 0 bytes"),
        ("header", images[..9].to_vec(), idx("f"), "cut off inside its header"),
        ("elements", images[..18].to_vec(), idx("f"), "is cut off: its header says [2, 1, 2]"),
        ("too long", [&images[..], b"x"].concat(), idx("f"), "is too long"),
        ("overflow", huge.clone(), idx("f"), "far too many"),
        ("element type", idx_bytes(3, &[1], &[0]), idx("f"), "element type 0x03"),
        ("rank 0", idx_bytes(8, &[], &[0]), idx("f"), "rank 0"),
        ("no rows", idx_bytes(8, &[0], &[]), idx("f"), "has no examples"),
        ("gzip", cut.to_vec(), idx("f"), "gzip data are damaged"),
        ("NaN", floats.clone(), idx("f"), "NaN or an infinity in row 1, element 0"),
        ("prefix", images.clone(), call("idx", &[("", text("mnist"))]), "there is no file `mnist-images…`"),
        ("no argument", Vec::new(), call("idx", &[]), "expected a prefix"),
        ("csv empty", Vec::new(), csv(&[]), "is empty"),
        ("csv only header", b"a,b\n".to_vec(), csv(&[]), "has no examples"),
        ("csv no header", b"1,2\n3,4\n".to_vec(), csv(&[]), "add a line that names the columns"),
        ("csv text", b"a,b\n1,2\n3,dog\n".to_vec(), csv(&[]), "line 3, column `b`: `dog` is not a number"),
        ("csv hole", b"a,b\n1,\n".to_vec(), csv(&[]), "line 2, column `b`: the cell is empty"),
        ("csv infinity", b"a,b\n1,inf\n".to_vec(), csv(&[]), "`inf` is not a finite number"),
        ("csv overflow", b"a,b\n1,1e99\n".to_vec(), csv(&[]), "`1e99` is not a finite number"),
        ("csv ragged", b"a,b\n1,2\n3\n".to_vec(), csv(&[]), "line 3 has 1 cells, but the header has 2"),
        ("csv twice", b"a,a\n1,2\n".to_vec(), csv(&[]), "two columns are called `a`"),
        ("csv utf-8", b"a,b\n1,\xff\n".to_vec(), csv(&[]), "line 2 is not UTF-8"),
        ("csv column", b"age,kind\n1,2\n".to_vec(), csv(&[("label", text("kinds"))]), "did you mean `kind`?"),
        ("csv option", b"a,b\n1,2\n".to_vec(), csv(&[("labels", text("a"))]), "did you mean `label`?"),
        ("npy magic", b"hello, world".to_vec(), npy.clone(), "is no npy file"),
        ("npy short", short.clone(), npy.clone(), "should hold 12 bytes"),
        ("npy scalar", scalar.clone(), npy.clone(), "without an axis of examples"),
        ("npy objects", objects.clone(), npy.clone(), "element type"),
        ("npy range", too_big.clone(), npy.clone(), "does not fit into i32"),
        ("npz", b"PK no".to_vec(), npz, "no readable npz archive"),
        ("source", Vec::new(), call("idz", &[]), "did you mean `idx`?"),
        (
            "synthetic rows",
            Vec::new(),
            call("synthetic", &[("rows", DataValue::Number(0.5))]),
            "whole number from 1",
        ),
        ("synthetic nothing", Vec::new(), call("synthetic", &[]), "name at least one field"),
        (
            "memory",
            Vec::new(),
            call("memory", &[("x", DataValue::Type(TensorType::scalar(DType::F32)))]),
            "no arrays were given",
        ),
        (
            "synthetic size",
            Vec::new(),
            call(
                "synthetic",
                &[("x", DataValue::Type(TensorType::new(DType::F32, [Dim::from(1i64 << 50)])))],
            ),
            "more than 8 GiB",
        ),
    ];
    for (name, bytes, call, wanted) in cases {
        let error = load(&[("f", &bytes)], &call).expect_err(name).to_string();
        assert!(error.contains(wanted), "{name}: {error:?} does not say {wanted:?}");
    }
    let files: &[(&str, &[u8])] = &[("digit-images", &images), ("digit-labels", &labels)];
    let error = load(files, &call("idx", &[("", text("digit"))])).unwrap_err().to_string();
    assert!(error.contains("field `image` has 2 rows, but field `label` has 3"), "{error}");
    let error = load(files, &call("idx", &[("", text("digits"))])).unwrap_err().to_string();
    assert!(error.contains("did you mean `digit`?"), "{error}");
}
