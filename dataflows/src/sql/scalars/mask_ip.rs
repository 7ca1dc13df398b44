//! `mask_ip(ip)`: an address without what tells people apart: the network `/24` of IPv4, `/48` of IPv6.
//!
//! A text that is no address becomes NULL, so that nothing slips through unmasked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MaskIp {
    signature: Signature,
}

impl MaskIp {
    pub(super) fn new() -> MaskIp {
        MaskIp { signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for MaskIp {
    fn name(&self) -> &'static str {
        "mask_ip"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        super::map_texts(&args, mask)
    }
}

fn mask(text: &str) -> Option<String> {
    // An IPv4 address written as an IPv6 one is masked as what it is.
    match text.trim().parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(ip) => Some(Ipv4Addr::from_bits(ip.to_bits() & !0xff).to_string()),
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 48)).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_remain_and_what_is_no_address_does_not() {
        for (ip, masked) in [
            ("203.0.113.77", Some("203.0.113.0")),
            (" 10.1.2.3 ", Some("10.1.2.0")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1::")),
            ("::ffff:203.0.113.77", Some("203.0.113.0")),
            ("203.0.113.77:8080", None),
            ("somebody", None),
            ("", None),
        ] {
            assert_eq!(mask(ip).as_deref(), masked, "{ip}");
        }
    }
}
