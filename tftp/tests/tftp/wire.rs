//! The client's side of the codec, and packets as words.

/// `rrq NAME MODE [OPTION VALUE]...`, `wrq ...`, `ack N`, `error N`, or `raw BYTES`.
pub(crate) fn encode(words: &[&str]) -> Vec<u8> {
    match words {
        ["rrq", fields @ ..] => request(1, fields),
        ["wrq", fields @ ..] => request(2, fields),
        ["ack", block] => numbers(&[4, block.parse().unwrap()]),
        ["error", code] => [numbers(&[5, code.parse().unwrap()]), b"user aborted\0".to_vec()].concat(),
        ["raw", bytes @ ..] => bytes.iter().flat_map(|word| text(word)).collect(),
        _ => panic!("no packet {words:?}"),
    }
}

fn request(opcode: u16, fields: &[&str]) -> Vec<u8> {
    let fields = fields.iter().flat_map(|field| [text(field), vec![0]].concat());
    numbers(&[opcode]).into_iter().chain(fields).collect()
}

fn numbers(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Text with `%XX` for any byte, `(empty)`, and `a*600` or `x%00y%00*240` for many copies.
pub(crate) fn text(word: &str) -> Vec<u8> {
    if let Some((part, count)) = word.split_once('*') {
        return text(part).repeat(count.parse().unwrap());
    }
    if word == "(empty)" {
        return Vec::new();
    }
    let mut parts = word.split('%');
    let mut out = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).unwrap());
        out.extend(part[2..].bytes());
    }
    out
}

/// What a server may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Data(u16, &'a [u8]),
    /// Names and values.
    Oack(Vec<String>),
    Error(u16),
}

pub(crate) fn decode(bytes: &[u8]) -> Answer<'_> {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match word(0) {
        3 => Answer::Data(word(2), &bytes[4..]),
        5 => {
            let (nul, text) = bytes[4..].split_last().unwrap();
            assert_eq!(*nul, 0, "an ERROR ends with a NUL");
            let text = std::str::from_utf8(text).unwrap();
            assert!(!text.is_empty() && !text.contains(['/', '\\', '\0']), "{text:?} may tell a path");
            Answer::Error(word(2))
        }
        6 => {
            let (nul, fields) = bytes[2..].split_last().unwrap();
            assert_eq!(*nul, 0, "an OACK ends with a NUL");
            let fields: Vec<_> =
                fields.split(|byte| *byte == 0).map(|f| String::from_utf8(f.to_vec()).unwrap()).collect();
            assert_eq!(fields.len() % 2, 0, "options come in pairs");
            Answer::Oack(fields)
        }
        other => panic!("opcode {other} from a server"),
    }
}
