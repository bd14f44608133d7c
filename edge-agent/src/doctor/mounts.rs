//! On what a folder lies: `proc_pid_mountinfo(5)`.

use std::path::{Path, PathBuf};

/// The mount that holds a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub point: PathBuf,
    pub kind: String,
    pub source: String,
}

impl Mount {
    /// The mount that holds `folder`, read from the text of `/proc/self/mountinfo`.
    #[must_use]
    pub fn of(folder: &Path, mountinfo: &str) -> Option<Self> {
        let mounts = mountinfo.lines().filter_map(parse);
        // Of two mounts on one point the later line covers the earlier one.
        mounts
            .filter(|mount| folder.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    /// Gone with the power.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }

    /// Replaced with the image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.point == Path::new("/") || matches!(self.kind.as_str(), "overlay" | "squashfs" | "erofs")
    }

    /// Whether inodes name files for good.
    #[must_use]
    pub fn has_lasting_inodes(&self) -> bool {
        !matches!(
            self.kind.as_str(),
            "vfat" | "msdos" | "exfat" | "fuseblk" | "ntfs3" | "overlay" | "9p" | "virtiofs"
        )
    }
}

/// A partition of an A/B pair, by its name: `rootfs_a`, `data-B`, `system.0`.
#[must_use]
pub fn is_slot_name(name: &str) -> bool {
    let mut end = name.chars().rev();
    let (last, separator) = (end.next(), end.next());
    matches!(last, Some('a' | 'b' | 'A' | 'B' | '0' | '1'))
        && matches!(separator, Some('_' | '-' | '.'))
        && end.next().is_some()
}

/// `36 35 98:0 /root /point options - kind source options`
fn parse(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let point = head.split(' ').nth(4)?;
    let mut tail = tail.split(' ');
    let (kind, source) = (tail.next()?, tail.next()?);
    Some(Mount { point: PathBuf::from(unescape(point)), kind: kind.to_owned(), source: unescape(source) })
}

/// Blanks in names are written `\040`.
fn unescape(name: &str) -> String {
    name.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 179:2 / / ro,relatime - squashfs /dev/mmcblk0p2 ro
23 22 0:5 / /run rw - tmpfs tmpfs rw
24 22 179:4 / /data rw,noatime shared:1 - ext4 /dev/mmcblk0p4 rw
25 24 179:5 / /data/my\\040box rw - f2fs /dev/mmcblk0p5 rw
garbage
";

    fn of(folder: &str) -> Mount {
        Mount::of(Path::new(folder), MOUNTS).unwrap()
    }

    #[test]
    fn a_folder_lies_on_the_deepest_mount_above_it() {
        assert_eq!(of("/data/muster").source, "/dev/mmcblk0p4");
        assert_eq!(of("/data/my box/muster").kind, "f2fs");
        assert_eq!(of("/database").source, "/dev/mmcblk0p2");
        assert!(of("/var/lib/muster").is_image());
        assert!(of("/run/muster").is_volatile());
        assert!(!of("/data/muster").is_volatile() && !of("/data/muster").is_image());
    }

    #[test]
    fn partitions_of_a_pair_are_known_by_their_names() {
        for slot in ["rootfs_a", "system-B", "rootfs.0", "boot_1"] {
            assert!(is_slot_name(slot), "{slot}");
        }
        for other in ["data", "userdata", "a", "_a", "mmcblk0p4"] {
            assert!(!is_slot_name(other), "{other}");
        }
    }
}
