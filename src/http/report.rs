//! `POST /b/BOOT/report`: what init tells of its boot (`oneroot_initrd::report`). Who may is asked before a byte of it is read.

use std::io;
use std::time::Duration;

use oneroot_http::{Answer, Manner, Method, Refusal, Request, StatusCode};
use oneroot_ids::BootId;
use oneroot_initrd::report::LONGEST;
use oneroot_machines::ReportRefused;

use super::{Connection, Next};

/// Time for all of a report.
const REPORT_TIME: Duration = Duration::from_secs(10);

/// A report that comes.
pub struct Coming {
    boot: BootId,
    length: usize,
    head: usize,
    manner: Manner,
}

/// What a request is, where it is a report's; none where it is another's.
pub fn asked(request: &Request<'_>) -> Option<Result<Coming, Refusal>> {
    if request.method != Method::Post {
        return None;
    }
    let path = request.target.path().strip_prefix("/b/")?;
    let boot = path.strip_suffix("/report").filter(|boot| !boot.contains('/'))?;
    let Ok(boot) = boot.parse() else { return Some(Err(Refusal::Missing)) };
    let said = |status, words: String| Some(Err(Refusal::Said(status, words)));
    match request.body_length().map(usize::try_from) {
        None => said(StatusCode::LENGTH_REQUIRED, "say how long the report is".to_owned()),
        Some(Ok(length)) if length <= LONGEST => {
            Some(Ok(Coming { boot, length, head: request.head_length(), manner: request.manner() }))
        }
        Some(_) => said(StatusCode::PAYLOAD_TOO_LARGE, format!("a report has at most {LONGEST} bytes")),
    }
}

fn refused(cause: &ReportRefused) -> Refusal {
    let status = match cause {
        ReportRefused::NoBoot => return Refusal::Missing,
        ReportRefused::Port | ReportRefused::NotYours => StatusCode::FORBIDDEN,
        ReportRefused::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ReportRefused::Bad(_) => StatusCode::BAD_REQUEST,
    };
    Refusal::Said(status, cause.to_string())
}

impl Connection {
    /// Takes in a report. It ends its connection, as every body does.
    pub(super) async fn report(&mut self, coming: Coming, date: &str) -> io::Result<Next> {
        let reporter = match self.http.machines.reporter(self.peer, coming.boot) {
            Ok(reporter) => reporter,
            Err(cause) => return self.refuse(refused(&cause), date).await,
        };
        let text = self.body(coming.head, coming.length, REPORT_TIME).await?;
        let answer = match self.http.machines.report(&reporter, &text) {
            Ok(()) => Answer::Taken,
            Err(cause) => Answer::Refused(refused(&cause)),
        };
        let mut head = Vec::new();
        answer.write_as(coming.manner.last(), date, &mut head);
        self.sending().head(head).await?;
        Ok(Next::End)
    }
}
