//! Templates: files named `*.j2` in layers, rendered by minijinja from a machine's [`Facts`] (docs/templates.md).
//!
//! Strict: a variable that is not there is a mistake, never an empty string in a configuration file. A template can't read
//! a file, or know what time it is. Its steps are counted here, and that is no bound on what one step takes: of stack, of
//! memory, of time. So whoever renders what others have written does it in a process of its own that the kernel bounds
//! (docs/decisions/0011-templates-in-a-process.md).

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde::{Deserialize, Serialize};

use crate::decide::facts::Facts;
use crate::site::report::nearest;

/// The end of a template's name; without it, it is the name of what is rendered.
pub const SUFFIX: &str = ".j2";
/// Whether a file of this name is an application's own template, and only loses one [`SUFFIX`]: `x.j2.j2` becomes `x.j2`,
/// byte for byte.
#[must_use]
pub fn is_kept(name: &[u8]) -> bool {
    let once = name.strip_suffix(SUFFIX.as_bytes());
    once.and_then(|name| name.strip_suffix(SUFFIX.as_bytes()))
        .is_some_and(|name| !name.is_empty() && !name.ends_with(b"/"))
}

/// Largest template and largest result, in bytes. They are configuration files.
pub const LARGEST: usize = 1 << 20;
/// Steps that a template may take; a loop over a thousand names takes some ten thousand.
const FUEL: u64 = 2_000_000;

/// A template that can't be rendered for a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderError {
    /// The template.
    pub file: String,
    /// The line in it, from 1; 0 when it is no line's fault.
    pub line: usize,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.reason),
            line => write!(f, "{}:{line}: {}", self.file, self.reason),
        }
    }
}

impl std::error::Error for RenderError {}

/// Renders one template; `file` names it in messages.
///
/// # Errors
/// [`RenderError`] with the line.
pub fn render(file: &str, text: &str, facts: &Facts) -> Result<String, RenderError> {
    let fault = |line, reason: String| RenderError { file: file.to_owned(), line, reason };
    if text.len() > LARGEST {
        return Err(fault(0, "is larger than 1 MiB, too large for a template".to_owned()));
    }
    let mut environment = Environment::new();
    // These are configuration files of every kind, and none of them is a page.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // A line with nothing but a tag on it leaves no line behind, and the file ends as it does: what Ansible's users know.
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|cause| fault(0, cause.to_string()))?);
    environment.set_fuel(Some(FUEL));
    let told = |cause: &minijinja::Error| fault(cause.line().unwrap_or(0), reason(cause, text, facts));
    let rendered =
        environment.render_named_str(file, text, Value::from(Serde(facts))).map_err(|cause| told(&cause))?;
    if rendered.len() > LARGEST {
        return Err(fault(0, "renders to more than 1 MiB, too much for a configuration file".to_owned()));
    }
    Ok(rendered)
}

fn reason(cause: &minijinja::Error, text: &str, facts: &Facts) -> String {
    let range = cause.range().unwrap_or_default();
    let before = text.get(..range.start).unwrap_or_default().trim_end();
    let place = match before.strip_suffix('|') {
        // A filter was given nothing: what stands before it is not defined.
        Some(before) => before.trim_end().rsplit(|c| !is_name(c)).next().unwrap_or_default(),
        None => text.get(range).map(str::trim).unwrap_or_default(),
    };
    match cause.kind() {
        ErrorKind::UndefinedError => undefined(place, facts),
        ErrorKind::OutOfFuel => "takes too many steps; does it loop without end?".to_owned(),
        ErrorKind::TemplateNotFound => "includes another template, which cannot be had here".to_owned(),
        _ => match cause.detail() {
            Some(detail) => format!("{}: {detail}", cause.kind()),
            None => cause.kind().to_string(),
        },
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// Names of facts that are not there for every machine, and how those of others begin.
const SOMETIMES: [&str; 2] = ["address", "site.domain"];
const TOLD: [&str; 2] = ["hardware.", "location."];
/// How those begin that programs of the machine's tree have found out: their names are the admin's.
const EXAMINED: &str = "examined.";
/// Every name that a template may use, but for the variables' own.
const NAMES: [&str; 30] = [
    "name",
    "mac",
    "macs",
    "address",
    "profile",
    "workloads",
    "groups",
    "vars",
    "site.server",
    "site.domain",
    "site.dns",
    "site.ntp",
    "hardware.arch",
    "hardware.firmware",
    "hardware.manufacturer",
    "hardware.product",
    "hardware.serial",
    "hardware.uuid",
    "hardware.asset",
    "hardware.memory",
    "hardware.cpu",
    "hardware.nic",
    "hardware.vendor_class",
    "hardware.user_class",
    "location.network",
    "location.relay",
    "location.circuit_id",
    "location.remote_id",
    "location.interface",
    "examined",
];
/// What others call them.
const OTHERS: [(&str, &str); 12] = [
    ("hostname", "name"),
    ("host", "name"),
    ("fqdn", "name"),
    ("ip", "address"),
    ("ipaddr", "address"),
    ("ip_address", "address"),
    ("mac_address", "mac"),
    ("server", "site.server"),
    ("domain", "site.domain"),
    ("dns", "site.dns"),
    ("nameservers", "site.dns"),
    ("ntp", "site.ntp"),
];

/// What is wrong with a name that stands for nothing, and what to write. A variable is under `vars`, and nothing else is.
fn undefined(place: &str, facts: &Facts) -> String {
    let name = place.split(|c| !is_name(c)).next().unwrap_or_default();
    let fact = OTHERS.iter().find(|(other, _)| *other == name).map(|(_, fact)| *fact);
    match name.strip_prefix("vars.") {
        Some(variable) => {
            let meant = nearest(variable, facts.vars.keys().map(String::as_str));
            let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
            format!(
                "{place:?} is not defined for every machine that has this file; give it a value in [vars], or test it with `is defined`{meant}"
            )
        }
        None if facts.vars.contains_key(name) => {
            format!("{place:?} is not defined: {name} is a variable, so write `{{{{ vars.{name} }}}}`")
        }
        None if SOMETIMES.contains(&name)
            || name.starts_with(EXAMINED)
            || (TOLD.iter().any(|begin| name.starts_with(begin)) && NAMES.contains(&name)) =>
        {
            format!(
                "{place:?} is not defined for every machine that has this file; test it with `is defined`"
            )
        }
        None => {
            let meant = fact.map(|fact| format!("did you mean `{fact}`?")).or_else(|| nearest(name, NAMES));
            let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
            format!(
                "{place:?} is not defined{meant} (there are {}; and `vars.NAME` for what [vars] has)",
                NAMES.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::SiteFacts;
    use crate::hardware::{Claims, Examined, Fact, Hardware, Location, Told};

    fn facts() -> Facts {
        Facts {
            name: "alpha".to_owned(),
            mac: "52:54:00:00:00:0a".to_owned(),
            macs: vec!["52:54:00:00:00:0a".to_owned()],
            address: None,
            profile: "debian".to_owned(),
            workloads: vec!["night".to_owned(), "render".to_owned()],
            groups: Vec::new(),
            vars: [("role".to_owned(), "build".to_owned())].into(),
            site: SiteFacts { server: [10, 0, 0, 1].into(), domain: None, dns: Vec::new(), ntp: Vec::new() },
            hardware: Hardware { product: Told::of(b"OptiPlex 7080"), ..Hardware::default() },
            location: Location::default(),
            examined: Examined::default(),
        }
    }

    fn of(text: &str) -> Result<String, RenderError> {
        render("layers/a/etc/x.conf.j2", text, &facts())
    }

    #[test]
    fn facts_are_said_as_they_are_line_ends_and_markup_too() {
        let text = "host {{ name }} <{{ vars.role }}>\n{% for w in workloads %}\n{{ w }}\n{% endfor %}\n";
        assert_eq!(of(text).unwrap(), "host alpha <build>\nnight\nrender\n");
        assert_eq!(render("a.html.j2", "{{ '<b>' }}\n", &facts()).unwrap(), "<b>\n");
    }

    #[test]
    fn what_is_not_defined_is_named_with_its_file_and_line() {
        for (text, name) in [
            ("a\nb {{ vars.rolle }}\n", "vars.rolle"),
            ("a\nb {{ hostname }}\n", "hostname"),
            ("a\n{% if address %}x{% endif %}", "address"),
        ] {
            let told = of(text).unwrap_err();
            assert_eq!((told.file.as_str(), told.line), ("layers/a/etc/x.conf.j2", 2), "{told}");
            assert!(told.reason.contains(name) && told.reason.contains("is not defined"), "{told}");
        }
        assert_eq!(of("{% if address is defined %}x{% else %}y{% endif %}").unwrap(), "y");
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_answered_with_what_to_write() {
        for (text, remedy) in [
            ("{{ role }}", "write `{{ vars.role }}`"),
            (
                "{{ vars.rolle }}",
                "give it a value in [vars], or test it with `is defined`; did you mean `role`?",
            ),
            ("{{ vars.threads }}", "give it a value in [vars]"),
            ("{{ hostname }}", "did you mean `name`?"),
            ("{{ hostname | upper }}", "did you mean `name`?"),
            ("{{ domain }}", "did you mean `site.domain`?"),
            ("{{ profil }}", "did you mean `profile`?"),
            ("{{ site.domain }}", "test it with `is defined`"),
            ("{{ hardware.serial }}", "test it with `is defined`"),
            ("{{ hardware.seriel }}", "did you mean `hardware.serial`?"),
            ("{{ location.relay }}", "test it with `is defined`"),
            ("{{ examined.rack }}", "test it with `is defined`"),
            ("{{ threads }}", "there are name, mac, macs, address"),
        ] {
            let told = of(text).unwrap_err();
            assert!(told.reason.contains(remedy), "{text}: {told}");
        }
    }

    /// The page that describes them has a row for each, so has the list in the message.
    #[test]
    fn every_fact_is_described() {
        let page = include_str!("../../docs/templates.md");
        let mut facts = facts();
        let mut claims = Claims::default();
        for fact in Fact::ALL {
            for text in
                ["x86_64", "uefi", "8086:100e", "10.0.0.1", "4c4c4544-0051-3010-8052-b4c04f4d3232", "8192"]
            {
                let _ = claims.suppose(fact, text);
            }
        }
        (facts.hardware, facts.location) = (claims.hardware, claims.location);
        facts.location.network = "10.0.0.0/24".parse().ok();
        (facts.address, facts.site.domain) = (Some([10, 0, 0, 10].into()), Some("example.org".to_owned()));
        let all = serde_json::to_value(&facts).unwrap();
        let mut names = Vec::new();
        for (name, value) in all.as_object().unwrap() {
            match value.as_object().filter(|_| name != "vars" && name != "examined") {
                Some(table) => names.extend(table.keys().map(|key| format!("{name}.{key}"))),
                None => names.push(name.clone()),
            }
        }
        names.iter().for_each(|name| {
            assert!(NAMES.contains(&name.as_str()), "{name}");
            assert!(page.contains(&format!("| `{name}")), "{name}");
        });
        assert_eq!(names.len(), NAMES.len());
    }

    #[test]
    fn a_template_can_not_run_for_ever_grow_without_end_or_read_files() {
        for text in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% for a in range(5000) %}{% for b in range(300) %}0123456789{% endfor %}{% endfor %}",
            "{{ 'x' * 2000000000 }}",
            "{% include '/etc/passwd' %}",
            "{{ now() }}",
            "{{ env('HOME') }}",
            "{% if %}",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
