//! Bytes that the device does not give back: what most disks do long before they end, for a sector or a page of them.
//!
//! A read that fails is tried again in small pieces. What still fails is a hole in the file, as if its bytes were not what
//! was written: damage, which peers make good. It never counts as a torn tail, since it may have been written whole.

use super::disk::DiskFile;
use super::error::{CorruptionKind, StorageError};
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::path::Path;

/// No disk fails in less.
const SECTOR: usize = 512;
/// First so much is tried at once, so that a large file with one bad place is read in a moment.
const STRETCH: usize = 64 * SECTOR;

/// What kernels and file systems call it.
const REFUSALS: [Errno; 4] = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN];

/// Whether the device refused to give bytes back, as opposed to a file that cannot be reached.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    REFUSALS.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

/// What could be read of a file, zeros for the rest.
pub(super) struct Readable {
    pub(super) bytes: Vec<u8>,
    /// Where the first byte lies that could not be read, in bytes from the start of the file.
    pub(super) first_hole: Option<u64>,
}

/// Up to `length` bytes from `offset` on; fewer only at the end of the file. Bytes that cannot be read are damage of it.
pub(super) fn read_whole(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, StorageError> {
    let Readable { bytes, first_hole } =
        read_readable(file, offset, length).map_err(StorageError::io("reading", path))?;
    match first_hole {
        None => Ok(bytes),
        Some(hole) => Err(StorageError::corrupt(path, hole, CorruptionKind::Unreadable)),
    }
}

/// As [`read_whole`], and what cannot be read is left out.
pub(super) fn read_readable(file: &dyn DiskFile, offset: u64, length: usize) -> io::Result<Readable> {
    let mut bytes = vec![0; length];
    let (read, first_hole) = fill(file, offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(Readable { bytes, first_hole })
}

/// Fills `buffer` from `offset` on: how many bytes there were, and where the first lies that could not be read.
pub(super) fn fill(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    match file.read_at(offset, buffer) {
        Err(error) if is_unreadable(&error) => {}
        read => return read.map(|read| (read, None)),
    }
    let (left, mut first_hole) = (file.length()?.saturating_sub(offset), None);
    let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    fill_in_pieces(file, offset, &mut buffer[..length], &mut first_hole)?;
    Ok((length, first_hole))
}

fn fill_in_pieces(
    file: &dyn DiskFile,
    offset: u64,
    buffer: &mut [u8],
    first_hole: &mut Option<u64>,
) -> io::Result<()> {
    let size = if buffer.len() > STRETCH { STRETCH } else { SECTOR };
    for range in pieces(offset, buffer.len(), size) {
        let (from, piece) = (offset + range.start as u64, &mut buffer[range]);
        match file.read_at(from, piece) {
            Err(error) if is_unreadable(&error) => {
                piece.fill(0);
                match size {
                    STRETCH => fill_in_pieces(file, from, piece, first_hole)?,
                    _ => *first_hole = first_hole.or(Some(from)),
                }
            }
            read => {
                read?;
            }
        }
    }
    Ok(())
}

/// `length` bytes from `offset` on, cut where sectors end: ranges within them.
fn pieces(offset: u64, length: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let before = (offset % size as u64) as usize;
    let cuts = (0..length + before).step_by(size);
    cuts.map(move |cut| cut.saturating_sub(before)..(cut + size - before).min(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_sectors_end_and_leave_nothing_out() {
        let of = |offset, length| pieces(offset, length, SECTOR).collect::<Vec<_>>();
        assert_eq!(of(0, 1100), [0..512, 512..1024, 1024..1100]);
        assert_eq!(of(500, 600), [0..12, 12..524, 524..600]);
        assert_eq!(of(512, 600), [0..512, 512..600]);
    }
}
