//! Any bytes as the query in which a machine tells of its hardware.
//!
//! Input: the query. What must hold: every fact is bounded and printable; it is written and read again as the same; told once more, percent-encoded
//! and in digits, it is the same; a condition with that very text fits it, and a name that is made of it is a host's or none.

use std::collections::BTreeMap;

use oneroot_bootconf::hardware::{Claims, Fact, Hardware, LONGEST, Told};
use oneroot_bootconf::rules::Naming;
use oneroot_bootconf::when::TextPattern;

pub fn run(data: &[u8]) {
    let query = String::from_utf8_lossy(data);
    let hardware = Hardware::of_query(&query);
    let json = serde_json::to_string(&hardware).unwrap();
    assert_eq!(serde_json::from_str::<Hardware>(&json).unwrap(), hardware);
    if query.len() <= LONGEST {
        // What stands behind a query that is read whole changes nothing that was told before.
        let more = format!("{query}&product=other&x.serial=4f&memory=7&fact=1");
        let again = Hardware::of_query(&more[..more.len().min(LONGEST)]);
        assert!(hardware.product.is_none() || again.product == hardware.product, "{query:?}");
    }
    let claims = Claims { hardware, ..Claims::default() };
    let mut told: BTreeMap<Fact, String> = BTreeMap::new();
    for fact in Fact::ALL {
        let Some(text) = claims.text(fact) else { continue };
        assert!((1..=Told::LONGEST).contains(&text.len()) && text.trim() == text, "{text:?}");
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{text:?}");
        assert!(text.parse::<TextPattern>().unwrap().fits(&text), "{text:?}");
        let name = format!("n-{{{fact}}}").parse::<Naming>().unwrap().name(None, &claims);
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.is_none_or(|name| name.len() <= 63 && name.chars().all(label) && !name.ends_with('-')));
        told.insert(fact, text.into_owned());
    }
    let says = |fact: &Fact| !matches!(fact, Fact::Firmware | Fact::Memory | Fact::Nic);
    let own = told.iter().filter(|(fact, _)| says(fact));
    let percent: String = own.clone().map(|(fact, text)| format!("{fact}={}&", encoded(text))).collect();
    let digits = own.map(|(fact, text)| match fact {
        Fact::Arch | Fact::Uuid => format!("{fact}={text}&"),
        fact => format!("x.{fact}={}&", oneroot_ids::hex(text.as_bytes())),
    });
    for query in [percent, digits.collect()].into_iter().filter(|query| query.len() <= LONGEST) {
        let again = Claims { hardware: Hardware::of_query(&query), ..Claims::default() };
        for fact in told.keys().filter(|fact| says(fact)) {
            assert_eq!(again.text(*fact), claims.text(*fact), "{query}");
        }
    }
}

/// Every byte as a percent code.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "platform=pcbios&busid=018086100e&uuid=4C4C4544-0051-3010-8052-B4C04F4D3232&x.serial=35584b3251&\
         x.product=4f707469506c65782037303830&x.manufacturer=44656c6c&x.asset=&x.cpu=496e74656c&arch=x86_64&\
         sizes=0040.ff7f.0084.0000.ffff&extended=.00000100",
        "product=OptiPlex%207080&serial=%35XK&arch=arm64&platform=efi",
        "product=%&serial=%4&asset=%zz&cpu=%00a%0a&manufacturer=%E4",
        "=&&==&x.=&x.product=4&product",
        "?product=A#b;c+d",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
