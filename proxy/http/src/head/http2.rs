//! HTTP/2's rules for a field section (RFC 9113 8.2, 8.3; RFC 8441 4).
//!
//! The HTTP/2 codec calls [`Head::add_h2`] for each field that HPACK yields and [`Head::finish_h2`] at the end of
//! the block. Names and values are held to HTTP/1's grammar here, on the way in, so that a head that passed can be
//! written as HTTP/1 (RFC 9113 10.3).

use super::{Field, Head, Malformed, Method, Section, Target, syntax};
use crate::fields::Kind;
use crate::limits;

impl Head {
    /// Adds a field or pseudo-header field of an HTTP/2 field section: checks its bytes and its place.
    ///
    /// Never fails, so that the block can be decoded to its end; see [`Head::finish_h2`].
    pub fn add_h2(&mut self, bytes: &[u8], field: Field, limits: &limits::Head) {
        if !field.kind.is_pseudo() {
            // `:unknown` is no token either.
            if !syntax::is_h2_name(field.name.of(bytes)) {
                let pseudo = field.name.of(bytes).first() == Some(&b':');
                return self.fault(if pseudo { Malformed::PseudoUnexpected } else { Malformed::FieldName });
            }
            if !syntax::is_h2_value(field.value.of(bytes)) {
                return self.fault(Malformed::FieldValue);
            }
        }
        self.add_h2_checked(bytes, field, limits);
    }

    /// [`Head::add_h2`] for a field whose bytes passed [`syntax::is_h2_name`] and [`syntax::is_h2_value`] before: an
    /// entry of a table that only such fields enter.
    pub fn add_h2_checked(&mut self, bytes: &[u8], field: Field, limits: &limits::Head) {
        match field.kind {
            kind if kind.is_pseudo() => self.add_pseudo(bytes, field),
            Kind::Connection
            | Kind::KeepAlive
            | Kind::ProxyConnection
            | Kind::TransferEncoding
            | Kind::Upgrade
            | Kind::Http2Settings => self.fault(Malformed::ConnectionSpecific),
            Kind::Te if !field.value.of(bytes).eq_ignore_ascii_case(b"trailers") => {
                self.fault(Malformed::ConnectionSpecific);
            }
            _ => self.add(bytes, field, limits),
        }
    }

    fn add_pseudo(&mut self, bytes: &[u8], field: Field) {
        let bit = 1u8 << (field.kind as u8 - Kind::PseudoAuthority as u8);
        let repeated = self.pseudos & bit != 0;
        self.pseudos |= bit;
        if repeated || self.seen > 0 {
            return self.fault(Malformed::PseudoMisplaced);
        }
        let value = field.value.of(bytes);
        match (self.section, field.kind) {
            (Section::Request, Kind::PseudoMethod) => {
                self.method = Method::of(value);
                self.method_name = field.value;
            }
            (Section::Request, Kind::PseudoPath) => self.path = field.value,
            (Section::Request, Kind::PseudoScheme) => self.scheme = field.value,
            (Section::Request, Kind::PseudoAuthority) => self.authority = field.value,
            (Section::Request, Kind::PseudoProtocol) => self.protocol = field.value,
            (Section::Response, Kind::PseudoStatus) => match syntax::digits(value) {
                Some(n @ 100..=999) if value.len() == 3 && n != 101 => self.status = n as u16,
                _ => self.fault(Malformed::Status),
            },
            _ => self.fault(Malformed::PseudoUnexpected),
        }
    }

    /// Says whether a field section that is complete is well formed: a head, an interim response or trailers.
    ///
    /// `bytes` is what the ranges are of. An extended CONNECT is accepted as such; whether it was allowed (the
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL of RFC 8441 3) the connection knows.
    pub fn finish_h2(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let first = match (self.fault, self.section) {
            (Some(fault), _) => Err(fault),
            (None, Section::Request) => self.finish_h2_request(bytes),
            (None, Section::Response) if self.status == 0 => Err(Malformed::PseudoMissing),
            (None, Section::Response | Section::Trailers) => Ok(()),
        };
        self.fault = first.err();
        first
    }

    fn has_pseudo(&self, kind: Kind) -> bool {
        self.pseudos & (1u8 << (kind as u8 - Kind::PseudoAuthority as u8)) != 0
    }

    fn finish_h2_request(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if !self.has_pseudo(Kind::PseudoMethod) {
            return Err(Malformed::PseudoMissing);
        }
        if !syntax::is_token(self.method_name.of(bytes)) {
            return Err(Malformed::Method);
        }
        if self.has_pseudo(Kind::PseudoAuthority) && !syntax::is_authority(self.authority.of(bytes)) {
            return Err(Malformed::Authority);
        }
        if self.facts.repeated_host {
            return Err(Malformed::HostRepeated);
        }
        if let Some(host) = self.facts.host {
            if !self.has_pseudo(Kind::PseudoAuthority) {
                if !host.is_empty() && !syntax::is_authority(host.of(bytes)) {
                    return Err(Malformed::Authority);
                }
                self.authority = host;
            } else if !syntax::same_authority(self.authority.of(bytes), host.of(bytes)) {
                return Err(Malformed::HostDiffers);
            }
        }
        let extended = self.has_pseudo(Kind::PseudoProtocol);
        if extended && (self.method != Method::Connect || !syntax::is_token(self.protocol.of(bytes))) {
            return Err(Malformed::PseudoUnexpected);
        }
        if self.method == Method::Connect && !extended {
            if self.has_pseudo(Kind::PseudoPath) || self.has_pseudo(Kind::PseudoScheme) {
                return Err(Malformed::PseudoUnexpected);
            }
            if !syntax::is_connect_authority(self.authority.of(bytes)) {
                return Err(Malformed::Authority);
            }
            self.target = Target::Authority;
            return Ok(());
        }
        if !self.has_pseudo(Kind::PseudoPath) || !self.has_pseudo(Kind::PseudoScheme) {
            return Err(Malformed::PseudoMissing);
        }
        if extended && self.authority.is_empty() {
            return Err(Malformed::PseudoMissing);
        }
        if !syntax::is_scheme(self.scheme.of(bytes)) {
            return Err(Malformed::Scheme);
        }
        match self.path.of(bytes) {
            b"*" if self.method == Method::Options => self.target = Target::Asterisk,
            b"*" => return Err(Malformed::TargetForm),
            path if path.first() == Some(&b'/') && syntax::is_target(path) => self.target = Target::Origin,
            _ => return Err(Malformed::Target),
        }
        Ok(())
    }
}
