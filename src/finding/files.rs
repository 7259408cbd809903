//! Modes and owners of files that only the service may touch.

use super::Finding;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file, of which `widest` is the widest mode that is right. Links are followed: what they name is what counts.
pub(crate) fn mode(check: &'static str, path: &Path, widest: u32) -> Finding {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Finding::failure(
                check,
                format!("`{shown}` cannot be looked at: {error}"),
                "the service needs it",
                "check the path, and that its folders may be entered by the user that runs the service",
            );
        }
    };
    let mode = metadata.mode() & 0o7777;
    let excess = mode & 0o777 & !widest;
    let remedy = || format!("`chmod {widest:04o} {shown}`");
    if excess & 0o027 != 0 {
        let found = format!("`{shown}` has mode {mode:04o}: others can {}", verb(excess));
        return Finding::failure(check, found, "who can read it learns secrets, who can write it decides", remedy());
    }
    if excess != 0 {
        let found = format!("`{shown}` has mode {mode:04o}, wider than {widest:04o}");
        return Finding::warning(check, found, "nobody but the service needs it", remedy());
    }
    let (owner, we) = (metadata.uid(), rustix::process::geteuid());
    if !we.is_root() && owner != we.as_raw() {
        return Finding::warning(
            check,
            format!("`{shown}` belongs to user {owner}, and this is user {}", we.as_raw()),
            "the service can use it only as its owner",
            format!("run the service and this command as user {owner}, or `chown {} {shown}`", we.as_raw()),
        );
    }
    Finding::ok(check, format!("`{shown}` has mode {mode:04o}, user {owner}"))
}

fn verb(excess: u32) -> &'static str {
    match (excess & 0o022 != 0, excess & 0o044 != 0) {
        (true, true) => "read and write it",
        (true, false) => "write it",
        _ => "read it",
    }
}

/// The folder of a file: whoever may write it can put another file in its place.
pub(crate) fn folder(check: &'static str, file: &Path) -> Finding {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder.display();
    let why = "whoever may write there can put another file in its place";
    match std::fs::metadata(folder) {
        Err(error) => Finding::failure(
            check,
            format!("folder `{shown}` cannot be looked at: {error}"),
            "the service needs it",
            "create it, or check the path",
        ),
        Ok(metadata) if metadata.mode() & 0o1002 == 0o002 => {
            let remedy = format!("`chmod o-w {shown}`");
            Finding::failure(check, format!("everybody can write in folder `{shown}`"), why, remedy)
        }
        Ok(metadata) if metadata.mode() & 0o002 != 0 => Finding::warning(
            check,
            format!("everybody can make files in folder `{shown}`"),
            why,
            "use a folder of the service's own, such as one of mode 0700",
        ),
        Ok(metadata) => Finding::ok(check, format!("folder `{shown}` has mode {:04o}", metadata.mode() & 0o7777)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn with_mode(mode: u32, look: impl FnOnce(&Path) -> Finding) -> Finding {
        let name = format!("vouchsafe_mode_{}_{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("secret");
        std::fs::write(&file, "x").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let finding = look(&file);
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        finding
    }

    #[test]
    fn a_file_is_judged_by_what_others_can_do_with_it() {
        for (mode_is, widest, level) in [
            (0o600, 0o600, Level::Ok),
            (0o400, 0o600, Level::Ok),
            (0o640, 0o640, Level::Ok),
            (0o700, 0o600, Level::Warning),
            (0o604, 0o600, Level::Failure),
            (0o602, 0o600, Level::Failure),
            (0o660, 0o640, Level::Failure),
            (0o600, 0o400, Level::Warning),
        ] {
            let found = with_mode(mode_is, |file| mode("t", file, widest));
            assert_eq!(found.level, level, "{mode_is:o} against {widest:o}: {found:?}");
            assert!(level == Level::Ok || found.remedy.contains(&format!("chmod {widest:04o}")), "{found:?}");
        }
        assert_eq!(mode("t", Path::new("/nowhere/at/all"), 0o600).level, Level::Failure);
    }

    #[test]
    fn a_folder_that_everybody_can_write_in_is_told_apart_from_one_that_is_sticky() {
        for (mode_is, level) in [(0o700, Level::Ok), (0o777, Level::Failure), (0o1777, Level::Warning)] {
            let found = with_mode(0o600, |file| {
                std::fs::set_permissions(file.parent().unwrap(), Permissions::from_mode(mode_is)).unwrap();
                folder("t", file)
            });
            assert_eq!(found.level, level, "{mode_is:o}: {found:?}");
        }
    }
}
