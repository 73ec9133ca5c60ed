//! Who renders a template. A server has that done where a template can harm nobody
//! (docs/decisions/0011-templates-in-a-process.md); how is not this crate's to know.

use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::render::{RenderError, render};

/// Renders templates; may block for as long as one takes.
pub trait Renderer: Send + Sync {
    /// What `text` becomes for a machine; `file` names it in messages.
    ///
    /// # Errors
    /// [`RenderError`]: the template's fault, or why nothing can be rendered now.
    fn render(&self, file: &str, text: &str, facts: &Facts) -> Result<String, RenderError>;

    /// What is wrong with `text` for each of these machines; none where it can be rendered.
    fn faults(&self, file: &str, text: &str, facts: &[Facts]) -> Vec<Option<RenderError>> {
        facts.iter().map(|facts| self.render(file, text, facts).err()).collect()
    }
}

/// In this process and with nothing around it: for tests, which write their own templates.
#[derive(Debug, Default)]
pub struct Here;

impl Renderer for Here {
    fn render(&self, file: &str, text: &str, facts: &Facts) -> Result<String, RenderError> {
        render(file, text, facts)
    }
}
