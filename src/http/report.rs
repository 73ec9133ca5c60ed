//! `POST /b/BOOT/report`: what init tells of its boot (`oneroot_initrd::report`), and `POST /b/BOOT/examined`: what the machine has found out
//! about itself (`oneroot_initrd::examined`). Who may is asked before a byte of it is read.

use std::io;
use std::time::Duration;

use oneroot_http::{Answer, Manner, Method, Refusal, Request, StatusCode};
use oneroot_ids::BootId;
use oneroot_initrd::{examined, report};
use oneroot_machines::ReportRefused;

use super::{Connection, Next};

/// Time for all of a report.
const REPORT_TIME: Duration = Duration::from_secs(10);

/// What a machine tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Report,
    Examined,
}

/// A report that comes.
pub struct Coming {
    what: What,
    boot: BootId,
    length: usize,
    head: usize,
    manner: Manner,
}

impl What {
    fn longest(self) -> usize {
        match self {
            Self::Report => report::LONGEST,
            Self::Examined => examined::LONGEST,
        }
    }
}

/// What a request is, where it is a report's; none where it is another's.
pub fn asked(request: &Request<'_>) -> Option<Result<Coming, Refusal>> {
    if request.method != Method::Post {
        return None;
    }
    let (boot, what) = request.target.path().strip_prefix("/b/")?.split_once('/')?;
    let what = match what {
        "report" => What::Report,
        "examined" => What::Examined,
        _ => return None,
    };
    let Ok(boot) = boot.parse() else { return Some(Err(Refusal::Missing)) };
    let said = |status, words: String| Some(Err(Refusal::Said(status, words)));
    let longest = what.longest();
    match request.body_length().map(usize::try_from) {
        None => said(StatusCode::LENGTH_REQUIRED, "say how long the report is".to_owned()),
        Some(Ok(length)) if length <= longest => {
            Some(Ok(Coming { what, boot, length, head: request.head_length(), manner: request.manner() }))
        }
        Some(_) => said(StatusCode::PAYLOAD_TOO_LARGE, format!("that has at most {longest} bytes")),
    }
}

fn refused(cause: &ReportRefused) -> Refusal {
    let status = match cause {
        ReportRefused::NoBoot => return Refusal::Missing,
        ReportRefused::Port
        | ReportRefused::NotYours
        | ReportRefused::NotComingUp
        | ReportRefused::NoRoom => StatusCode::FORBIDDEN,
        ReportRefused::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ReportRefused::Bad(_) | ReportRefused::BadExamination(_) => StatusCode::BAD_REQUEST,
        ReportRefused::Unwritten => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::Said(status, cause.to_string())
}

impl Connection {
    /// Takes in a report. It ends its connection, as every body does.
    pub(super) async fn report(&mut self, coming: Coming, date: &str) -> io::Result<Next> {
        let machines = self.http.machines.clone();
        let reporter = match coming.what {
            What::Report => machines.reporter(self.peer, coming.boot),
            What::Examined => machines.examiner(self.peer, coming.boot),
        };
        let reporter = match reporter {
            Ok(reporter) => reporter,
            Err(cause) => return self.refuse(refused(&cause), date).await,
        };
        let text = self.body(coming.head, coming.length, REPORT_TIME).await?;
        let taken = match coming.what {
            What::Report => machines.report(&reporter, &text),
            What::Examined => machines.examined(&reporter, &text).await,
        };
        let answer = match taken {
            Ok(()) => Answer::Taken,
            Err(cause) => Answer::Refused(refused(&cause)),
        };
        let mut head = Vec::new();
        answer.write_as(coming.manner.last(), date, &mut head);
        self.sending().head(head).await?;
        Ok(Next::End)
    }
}
