//! Templates: files named `*.j2` in layers, rendered by minijinja from a machine's [`Facts`] (design.md, "Rendered files").
//!
//! Strict: a variable that is not there is a mistake, never an empty string in a configuration file. A template can't run
//! for ever, read a file, or know what time it is.

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use crate::facts::Facts;

/// The end of a template's name; without it, it is the name of what is rendered.
pub const SUFFIX: &str = ".j2";
/// Largest template and largest result, in bytes. They are configuration files.
pub const LARGEST: usize = 1 << 20;
/// Steps that a template may take; a loop over a thousand names takes some ten thousand.
const FUEL: u64 = 2_000_000;

/// A template that can't be rendered for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        return Err(fault(0, "is larger than 1 MiB, which is no template".to_owned()));
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
    let told = |cause: &minijinja::Error| fault(cause.line().unwrap_or(0), reason(cause, text));
    let rendered =
        environment.render_named_str(file, text, Value::from(Serde(facts))).map_err(|cause| told(&cause))?;
    if rendered.len() > LARGEST {
        return Err(fault(0, "renders to more than 1 MiB, which is no configuration file".to_owned()));
    }
    Ok(rendered)
}

fn reason(cause: &minijinja::Error, text: &str) -> String {
    let place = cause.range().and_then(|range| text.get(range)).map(str::trim).unwrap_or_default();
    match cause.kind() {
        ErrorKind::UndefinedError => {
            format!(
                "{place:?} is not defined for every machine that has this file; give it a value in [vars], or test it with `is defined`"
            )
        }
        ErrorKind::OutOfFuel => "takes too many steps; does it loop without end?".to_owned(),
        ErrorKind::TemplateNotFound => "includes another template, which cannot be had here".to_owned(),
        _ => match cause.detail() {
            Some(detail) => format!("{}: {detail}", cause.kind()),
            None => cause.kind().to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::SiteFacts;

    fn facts() -> Facts {
        Facts {
            name: "alpha".to_owned(),
            mac: "52:54:00:00:00:0a".to_owned(),
            macs: vec!["52:54:00:00:00:0a".to_owned()],
            address: None,
            profile: "debian".to_owned(),
            workloads: vec!["night".to_owned(), "render".to_owned()],
            vars: [("role".to_owned(), "build".to_owned())].into(),
            site: SiteFacts { server: [10, 0, 0, 1].into(), domain: None },
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
