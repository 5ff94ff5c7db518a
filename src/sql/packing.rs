//! Packs short texts that resemble each other, by deflate with a preset dictionary.
//!
//! A text of two kilobytes alone packs to a third, because its words occur in it once or twice. A dictionary that has
//! these words already brings it to a tenth. The dictionary must be the same to the byte when a text is unpacked, for
//! ever: it gets a number, and a later one gets another number.
//!
//! `flate2` with its Rust backend has no call for a preset dictionary. It is not needed: deflate refers back to what was
//! compressed before, so the dictionary is compressed first and its bytes are left away. To unpack, the dictionary goes in
//! first as blocks that deflate stores as they are.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Texts longer than this are not unpacked: nothing that we pack comes near, so such bytes are damaged.
const LONGEST: usize = 16 << 20;

/// Bytes that were not packed with this dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packed bytes are damaged")]
pub(crate) struct Damaged;

/// Packs `text` behind the bytes that `out` has already.
pub(crate) fn pack(dictionary: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let mut deflate = Compress::new(Compression::new(6), false);
    let mut passed = Vec::with_capacity(dictionary.len() + 64);
    feed(&mut deflate, dictionary, &mut passed, FlushCompress::Sync);
    feed(&mut deflate, text, out, FlushCompress::Finish);
}

fn feed(deflate: &mut Compress, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    loop {
        out.reserve(256 + input.len() / 4);
        let before = deflate.total_in();
        let status = deflate.compress_vec(input, out, flush).expect("compressing into memory has no way to fail");
        let taken = usize::try_from(deflate.total_in() - before).expect("no more was taken than there is");
        input = &input[taken..];
        let finished = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // Room left over means that everything was flushed.
            _ => input.is_empty() && out.len() < out.capacity(),
        };
        if finished {
            return;
        }
    }
}

/// Returns the text that [`pack`] packed with the same dictionary.
///
/// # Errors
/// [`Damaged`] when the bytes are not the whole of a packed text.
pub(crate) fn unpack(dictionary: &[u8], packed: &[u8]) -> Result<Vec<u8>, Damaged> {
    let mut input = Vec::with_capacity(dictionary.len() + packed.len() + 16);
    for part in dictionary.chunks(usize::from(u16::MAX)) {
        let len = u16::try_from(part.len()).expect("parts are no longer than that");
        input.push(0);
        input.extend(len.to_le_bytes());
        input.extend((!len).to_le_bytes());
        input.extend(part);
    }
    input.extend(packed);

    let mut inflate = Decompress::new(false);
    let mut text = Vec::with_capacity(dictionary.len() + packed.len() * 12 + 256);
    loop {
        let (taken, made) = (inflate.total_in(), text.len());
        let rest = usize::try_from(taken).ok().and_then(|taken| input.get(taken..)).ok_or(Damaged)?;
        // Not `Finish`: that takes the room of the first call for all that is needed.
        let status = inflate.decompress_vec(rest, &mut text, FlushDecompress::None).map_err(|_| Damaged)?;
        match status {
            Status::StreamEnd if inflate.total_in() == input.len() as u64 => break,
            Status::StreamEnd => return Err(Damaged),
            _ if text.len() > LONGEST => return Err(Damaged),
            _ if text.len() == text.capacity() => text.reserve(text.capacity().max(1024)),
            // No room is missing, so the input is.
            _ if inflate.total_in() == taken && text.len() == made => return Err(Damaged),
            _ => {}
        }
    }
    text.drain(..dictionary.len().min(text.len()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_unpacks_to_the_same_bytes(
            dictionary in proptest::collection::vec(any::<u8>(), 0..70_000),
            text in proptest::collection::vec(any::<u8>(), 0..5_000),
        ) {
            let mut packed = vec![7];
            pack(&dictionary, &text, &mut packed);
            prop_assert_eq!(packed[0], 7, "what was there before stays");
            prop_assert_eq!(unpack(&dictionary, &packed[1..]).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(b"a dictionary", &bytes);
        }
    }

    #[test]
    fn a_text_that_packs_to_a_hundredth_comes_back_whole() {
        for len in [0, 1, 300, 70_000, 1_000_000] {
            let text = vec![b'a'; len];
            let mut packed = Vec::new();
            pack(b"aaaa", &text, &mut packed);
            assert_eq!(unpack(b"aaaa", &packed).unwrap(), text, "{len}");
        }
    }

    #[test]
    fn a_text_like_the_dictionary_takes_a_few_bytes_and_a_cut_one_is_refused() {
        let dictionary: String = (0..200).map(|n| format!("\"name_{n}\":{n},")).collect();
        let mut packed = Vec::new();
        pack(dictionary.as_bytes(), dictionary.as_bytes(), &mut packed);
        assert!(packed.len() < 60, "{}", packed.len());
        assert_eq!(unpack(dictionary.as_bytes(), &packed).unwrap(), dictionary.as_bytes());
        for len in 0..packed.len() {
            assert_eq!(unpack(dictionary.as_bytes(), &packed[..len]), Err(Damaged), "{len}");
        }
    }
}
