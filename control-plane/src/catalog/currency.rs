//! Currencies by ISO 4217.

use std::fmt;
use std::str::FromStr;

/// The alphabetic codes in use.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL \
    BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR \
    FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY \
    KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU \
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD \
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY \
    TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// A currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// The text is no code of a currency in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("currency is invalid")]
pub struct NotCurrency;

impl FromStr for Currency {
    type Err = NotCurrency;

    fn from_str(text: &str) -> Result<Self, NotCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| NotCurrency)?;
        // Three letters and a space, or the end.
        let mut codes = CODES.as_bytes().chunks(4);
        codes
            .any(|known| known[..3] == code)
            .then_some(Self(code))
            .ok_or(NotCurrency)
    }
}

impl Currency {
    /// Its alphabetic code, in ASCII.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 3] {
        &self.0
    }

    /// Its alphabetic code.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_a_code_in_use() {
        for code in CODES.split_ascii_whitespace() {
            assert_eq!(code.parse::<Currency>().unwrap().to_string(), code);
        }
        for text in ["", "usd", "US", "USDX", "DEM", "XAU", "US ", "USD EUR"] {
            assert_eq!(text.parse::<Currency>(), Err(NotCurrency), "{text}");
        }
    }
}
