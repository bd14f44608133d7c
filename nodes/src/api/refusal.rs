//! Why a request was refused, as it goes out: a status, a code, what happened, and what to do.

use super::shapes::{Refusal, RefusalCode};
use crate::proposer::ProposeError;
use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use projector::Decline;

/// A refusal on its way out.
#[derive(Debug)]
pub struct Refused(pub Refusal);

impl Refused {
    pub(super) fn new(code: RefusalCode, message: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Refused(Refusal { code, message: message.into(), what_to_do: what_to_do.into() })
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Refused::new(RefusalCode::Malformed, message, "correct the request")
    }

    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Refused::new(
            RefusalCode::NotFound,
            format!("{what} is not known here"),
            "check the id; list what there is",
        )
    }

    pub(super) fn declined(decline: Decline) -> Self {
        let what_to_do = match decline {
            Decline::NoCluster => "wait a moment: the cluster is being created",
            Decline::UnknownLot => {
                "tell the cluster of the lot first: `muster lot register LOT_FOLDER`, at the factory"
            }
            Decline::UnknownStation => {
                "tell the cluster of it first: `muster station register sta_….certificate`, from the lot's folder at the factory"
            }
            Decline::BreakerOpen => "look at the open flags; a person may order it",
            Decline::CodeUsed => "suspend the license instead",
            Decline::KeyReused => "take a new key for a new request",
            Decline::UnknownLicense => "check the id: `muster license show --device …`",
            Decline::LicenseElsewhere => "look who has it: `muster license show …`",
            Decline::LicenseEnded => "renew it first: `muster license renew …`",
            Decline::EndsLater => "give an end that is not before the present one",
            Decline::DeviceLicensed => "choose a device without a license that holds",
            _ => "look at the present state; nothing was changed",
        };
        let code = if decline == Decline::KeyReused { RefusalCode::KeyReused } else { RefusalCode::Declined };
        Refused::new(code, decline.to_string(), what_to_do)
    }

    fn status(&self) -> StatusCode {
        match self.0.code {
            RefusalCode::Unauthorized => StatusCode::UNAUTHORIZED,
            RefusalCode::Malformed => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalCode::Oversized => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalCode::NotFound => StatusCode::NOT_FOUND,
            RefusalCode::Declined | RefusalCode::KeyReused => StatusCode::CONFLICT,
            RefusalCode::Forbidden => StatusCode::FORBIDDEN,
            RefusalCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            RefusalCode::TimedOut => StatusCode::REQUEST_TIMEOUT,
            RefusalCode::Busy | RefusalCode::ShareTaken => StatusCode::TOO_MANY_REQUESTS,
            RefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            RefusalCode::Unknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code) = (self.status(), self.0.code);
        let mut response = (status, Json(self.0)).into_response();
        if let Some((head, value)) = said_besides(code) {
            response.headers_mut().insert(head, HeaderValue::from_static(value));
        }
        response
    }
}

/// What HTTP wants to be said with some answers: how to come in (RFC 9110, 11.6.1), and when to come again.
fn said_besides(code: RefusalCode) -> Option<(HeaderName, &'static str)> {
    match code {
        RefusalCode::Unauthorized => Some((WWW_AUTHENTICATE, "Bearer")),
        RefusalCode::Busy | RefusalCode::ShareTaken | RefusalCode::Unavailable => Some((RETRY_AFTER, "1")),
        RefusalCode::Malformed
        | RefusalCode::Oversized
        | RefusalCode::NotFound
        | RefusalCode::Declined
        | RefusalCode::KeyReused
        | RefusalCode::Forbidden
        | RefusalCode::MethodNotAllowed
        | RefusalCode::TimedOut
        | RefusalCode::Unknown => None,
    }
}

impl From<ProposeError> for Refused {
    fn from(error: ProposeError) -> Self {
        let message = error.to_string();
        match error {
            ProposeError::NotLeader | ProposeError::Unavailable { .. } => Refused::new(
                RefusalCode::Unavailable,
                message,
                "nothing was changed; try again, or another node",
            ),
            ProposeError::Unknown { .. } => Refused::new(
                RefusalCode::Unknown,
                message,
                "post the same again: what was committed is not done twice",
            ),
            ProposeError::Malformed { .. } => Refused::malformed(message),
        }
    }
}
