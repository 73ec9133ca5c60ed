//! Facts that somebody else has chosen (a name, a variable, a workload) in templates that the site trusts.
//!
//! Input: the facts, then which template. What must hold: facts are data, and come out byte for byte as they went in, whatever
//! they look like; what is rendered is what a plain reading of the template makes of them, or refused for its size; an error is
//! short.

use std::net::IpAddr;

use oneroot_bootconf::facts::{Facts, SiteFacts};
use oneroot_bootconf::render::{LARGEST, render};
use oneroot_testkit::Tape;

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let copies = usize::from(tape.byte()) * usize::from(tape.byte());
    let facts = facts(&mut tape);
    verbatim(&facts);
    list(&facts);
    large(&facts, copies);
    filtered(&facts);
}

fn facts(tape: &mut Tape<'_>) -> Facts {
    let mut text = || String::from_utf8_lossy(tape.counted()).into_owned();
    let (name, profile, role) = (text(), text(), text());
    let workloads = (0..4).map(|_| text()).collect();
    Facts {
        name,
        mac: "52:54:00:00:00:0a".to_owned(),
        macs: vec!["52:54:00:00:00:0a".to_owned()],
        address: Some(IpAddr::from([10, 0, 0, 10])),
        profile,
        workloads,
        groups: Vec::new(),
        hardware: oneroot_bootconf::hardware::Hardware::default(),
        location: oneroot_bootconf::hardware::Location::default(),
        examined: oneroot_bootconf::hardware::Examined::default(),
        vars: [("role".to_owned(), role)].into(),
        site: SiteFacts { server: [10, 0, 0, 1].into(), domain: None, dns: Vec::new(), ntp: Vec::new() },
    }
}

fn verbatim(facts: &Facts) {
    let rendered =
        render("a.conf.j2", "{{ name }}\n{{ vars.role }}\n{{ profile }}|{{ mac }}", facts).unwrap();
    let due = format!("{}\n{}\n{}|{}", facts.name, facts.vars["role"], facts.profile, facts.mac);
    assert_eq!(rendered, due);
}

fn list(facts: &Facts) {
    let text = "{% for w in workloads %}\n{{ loop.index }} {{ w }};\n{% endfor %}\n{% if vars.role == name %}same{% endif %}";
    let mut due: String = (1..).zip(&facts.workloads).map(|(at, word)| format!("{at} {word};\n")).collect();
    due += if facts.vars["role"] == facts.name { "same" } else { "" };
    assert_eq!(render("a.conf.j2", text, facts).unwrap(), due);
}

/// Many copies: as many bytes as that makes, or a refusal.
fn large(facts: &Facts, copies: usize) {
    let text = format!("{{% for n in range({copies}) %}}{{{{ name }}}}{{% endfor %}}");
    match render("a.conf.j2", &text, facts) {
        Ok(rendered) => {
            assert!(rendered.len() <= LARGEST);
            assert_eq!(rendered, facts.name.repeat(copies));
        }
        Err(cause) => {
            let told = cause.to_string();
            assert!(facts.name.len() * copies > LARGEST || copies > 10_000, "{told}");
            assert!(told.len() < 4096, "{} bytes of an error", told.len());
        }
    }
}

/// Filters over hostile text give an end or an error, of bounded size.
fn filtered(facts: &Facts) {
    for text in [
        "{{ name | upper }}{{ vars.role | lower | trim }}{{ profile | replace('a', 'bb') }}",
        "{{ workloads | join(', ') }}{{ workloads | sort | first }}{{ name | length }}",
        "{{ name | int }}{{ vars.role | default('x') }}{{ vars[name] }}",
        "{{ vars.role | tojson }}{{ name[1:3] }}{{ name.split(',') }}",
        "{{ name ~ profile ~ vars.role }}{{ vars.nothing }}",
    ] {
        match render("a.conf.j2", text, facts) {
            Ok(rendered) => assert!(rendered.len() <= 16 * 1024),
            Err(cause) => assert!(cause.to_string().len() < 4096, "{cause}"),
        }
    }
}

/// Facts that look like templates, markup, numbers, other scripts.
pub fn seeds() -> Vec<Vec<u8>> {
    let words = [
        "alpha",
        "{{ 7 * 7 }}",
        "{% for a in range(9) %}",
        "{# x #}",
        "</script>",
        "\n\n",
        "\u{0}",
        "-1",
        "99999999999999999999",
        "\u{202e}x",
        "a,b",
        "__class__",
        "${name}",
        "\u{fffd}",
        "",
    ];
    let each = words.iter().enumerate().map(|(at, word)| {
        let mut input = vec![16, u8::try_from(at * 16).unwrap()];
        for turn in 0..7 {
            let word = if turn % 2 == 0 { word } else { words[(at + turn) % words.len()] };
            input.push(u8::try_from(word.len()).unwrap());
            input.extend(word.bytes());
        }
        input
    });
    each.collect()
}
