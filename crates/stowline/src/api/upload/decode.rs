//! Base64 on the fly: text in, bytes out, a chunk at a time.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Bytestream, broken};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that base64 text stands for. White space does not matter, padding at the end may be missing.
pub(super) fn base64(text: Bytestream) -> Bytestream {
    let state = Some((text, Decoder::default()));
    stream::try_unfold(state, async |state| {
        let Some((mut text, mut decoder)) = state else { return Ok(None) };
        match text.next().await {
            Some(chunk) => {
                let bytes = decoder.take(&chunk?)?;
                Ok(Some((bytes, Some((text, decoder)))))
            }
            None => Ok(Some((decoder.finish()?, None))),
        }
    })
    .boxed()
}

/// What is left over between chunks: fewer than four letters.
#[derive(Default)]
struct Decoder {
    left: Vec<u8>,
    ended: bool,
}

impl Decoder {
    fn take(&mut self, text: &[u8]) -> std::io::Result<Bytes> {
        for letter in text.iter().filter(|letter| !letter.is_ascii_whitespace()) {
            match letter {
                b'=' => self.ended = true,
                _ if self.ended => return Err(broken("there is base64 after its end")),
                // The alphabet for URLs says the same with two other letters.
                b'-' => self.left.push(b'+'),
                b'_' => self.left.push(b'/'),
                letter => self.left.push(*letter),
            }
        }
        let rest = self.left.split_off(self.left.len() / 4 * 4);
        let whole = std::mem::replace(&mut self.left, rest);
        decode(&whole)
    }

    fn finish(self) -> std::io::Result<Bytes> {
        decode(&self.left)
    }
}

fn decode(text: &[u8]) -> std::io::Result<Bytes> {
    ENGINE.decode(text).map(Bytes::from).map_err(|_| broken("the body is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    async fn decoded(text: &str, chunk: usize) -> std::io::Result<Vec<u8>> {
        let chunks: Vec<std::io::Result<Bytes>> =
            text.as_bytes().chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        base64(stream::iter(chunks).boxed())
            .try_fold(Vec::new(), async |mut all, bytes| {
                all.extend_from_slice(&bytes);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn it_does_not_matter_how_the_text_is_cut() {
        for chunk in 1..9 {
            for (text, wanted) in
                [("UklGRg==", "RIFF"), ("UklGRg", "RIFF"), ("Ukl\r\nGRg==\n", "RIFF"), ("UklGRjE=", "RIFF1"), ("", "")]
            {
                assert_eq!(decoded(text, chunk).await.unwrap(), wanted.as_bytes(), "{text:?} by {chunk}");
            }
            assert_eq!(decoded("-_8=", chunk).await.unwrap(), [0xfb, 0xff]);
            for bad in ["Ukl*", "UklGRg==UklG", "U", "RIFF!"] {
                assert!(decoded(bad, chunk).await.is_err(), "{bad:?} by {chunk}");
            }
        }
    }
}
