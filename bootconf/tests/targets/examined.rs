//! Any bytes as what a machine tells to have found out about itself.
//!
//! Input: the body of the request, as it is. What must hold: it is read or refused, and written again as it came; its facts are few,
//! bounded and printable, are written and read again as the same, and told again they change nothing; a condition with a fact's own text
//! fits it; why some were refused is a short line without control characters.

use oneroot_bootconf::hardware::{Examined, ExaminedRecord, Key, MOST_FACTS, Told};
use oneroot_bootconf::when::TextPattern;
use oneroot_initrd::examined::{Examination, HookName, LARGEST, Outcome};

pub fn run(data: &[u8]) {
    if let Ok(told) = Examination::read(data) {
        assert_eq!(told.bytes(), data);
        takes(&told);
    }
    // The same bytes as what one program has printed, for most are no list.
    let hooks = [("a".parse::<HookName>().unwrap(), Outcome::Printed(data.to_vec()))];
    takes(&Examination { hooks: hooks.into_iter().collect() });
}

fn takes(told: &Examination) {
    let taken = ExaminedRecord::default().after(told, 7);
    let again = taken.record.after(told, 9);
    assert_eq!(again.record, taken.record);
    assert_eq!(again.refused, taken.refused);
    for (_, cause) in &taken.refused {
        let line = cause.to_string();
        assert!(line.len() < 400 && !line.chars().any(char::is_control), "{line:?}");
    }
    let json = serde_json::to_string(&taken.record).unwrap();
    assert_eq!(serde_json::from_str::<ExaminedRecord>(&json).unwrap(), taken.record);
    let facts = taken.record.facts();
    assert!(facts.all().count() <= MOST_FACTS);
    let json = serde_json::to_string(&facts).unwrap();
    assert!(json.len() <= LARGEST + 2, "{} bytes", json.len());
    assert_eq!(serde_json::from_str::<Examined>(&json).unwrap(), facts);
    for (key, value) in facts.all() {
        assert_eq!(key.as_str().parse::<Key>().as_ref(), Ok(key));
        assert!(taken.record.origin(key).is_some());
        for text in value.texts() {
            assert!((1..=Told::LONGEST).contains(&text.len()) && text.trim() == text, "{text:?}");
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text:?}");
            assert!(text.parse::<TextPattern>().unwrap().fits(&text), "{text:?}");
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "printed 10-rack 42\n{\"rack\": \"b7\", \"gpu\": 2, \"scratch\": true}\n\nfailed 20-gpu\n",
        "printed a 30\n{\"disks\": [\"sda\", \"nvme0n1\"]}\n\n",
        "printed a 2\n{}\nprinted b 9\n{\"x\": -1}\n",
        "{\"rack\": \"b7\", \"gpu\": -2, \"scratch\": false, \"disks\": [\"sda\"], \"n\": \"\\u00e4\"}",
        "{\"a\": 1, \"a\": 2}",
        "{\"a\": null}",
        "{\"a\": 1.5e3}",
        "{\"a\": [1]}",
        "{\"a\": {\"b\": 1}}",
        "{\"a\": \"\\u0000\\u001b[2J\"}",
        "{\"a\": 9223372036854775808}",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
