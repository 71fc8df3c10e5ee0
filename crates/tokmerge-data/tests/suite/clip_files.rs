//! Clips: video files and folders of frames, and what is refused.

#![expect(clippy::print_stdout, reason = "shows the errors of a decoder that is not ours")]

use std::path::Path;

use crate::common::clips::{drawn, ffmpeg, make, numbers, refused, spans, whole, write_frames, write_video};
use image::RgbImage;
use tokmerge_data::clip::{
    ClipError, ClipLimits, ClipOptions, ClipProcessor, FrameFit, Sampling, SpatialCrops,
};
use tokmerge_data::{Preprocess, Rgb};

#[test]
fn containers_rates_and_names_do_not_matter() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = ClipOptions::default();
    let expected = [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63];
    let lossless = ["-c:v", "ffv1", "-pix_fmt", "gbrp"];
    let mpeg4 = ["-c:v", "mpeg4", "-q:v", "2", "-bf", "2"];
    let mpeg2 = ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"];
    for (name, coding) in [
        ("a.mkv", lossless.as_slice()),
        ("b.mp4", &mpeg4),
        ("c.mov", &mpeg4),
        ("d.avi", &mpeg4),
        ("e.ts", &mpeg2),
        ("f.mpg", &mpeg2),
        ("g.gif", &[]),
        ("h.webm", &["-c:v", "libvpx", "-b:v", "2M", "-auto-alt-ref", "1", "-lag-in-frames", "16"]),
    ] {
        let path = write_video(&program, dir.path(), name, 64, coding);
        let clip = whole(spans(1)).open(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(clip.video_frames(), 64, "{name}");
        assert!((clip.fps() - 30.0).abs() < 1e-9, "{name}: {} frames per second", clip.fps());
        assert_eq!(clip.taken(0), expected, "{name}");
        assert_eq!(numbers(&clip, 0), expected, "{name}");
        assert!(tokmerge_data::Media::Clip.has_ending(&path), "{name}");
    }
    let mut names = vec!["-y.mkv", "50%d.mkv", "concat:a|b.mkv", "with space.mkv"];
    if cfg!(unix) {
        names.push("two\nlines.mkv");
    }
    for name in names {
        let path = dir.path().join(name);
        std::fs::copy(dir.path().join("a.mkv"), &path).unwrap();
        let clip = whole(spans(1)).open(&path, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(numbers(&clip, 0), expected, "{name}");
    }
}

#[test]
fn a_folder_of_frames_gives_the_clip_of_the_file() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let video = write_video(&program, dir.path(), "a.mkv", 100, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    let frames = tempfile::tempdir().unwrap();
    write_frames(frames.path(), 0..100);
    std::fs::write(frames.path().join("notes.txt"), "not a frame").unwrap();
    let fit = FrameFit::Float {
        short_side: 30,
        crop: 28,
        crops: SpatialCrops::Three,
        mean: [0.45; 3],
        std: [0.225; 3],
    };
    for processor in [ClipProcessor { sampling: spans(3), fit }, whole(spans(3))] {
        let of_file = processor.open(&video, &ClipOptions::default()).unwrap();
        assert!(of_file == processor.open(frames.path(), &ClipOptions::default()).unwrap());
        let held: Vec<Rgb> = (0..100).map(drawn).collect();
        assert!(of_file == processor.of_frames(&held, None).unwrap());
    }
    let slower = ClipOptions { fps: Some(15.0), ..ClipOptions::default() };
    let clip = whole(spans(1)).open(frames.path(), &slower).unwrap();
    assert_eq!(clip.taken(0), spans(1).of(100, 15.0)[0]);
}

#[test]
fn a_video_is_turned_as_it_asks_for() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let straight = write_video(&program, dir.path(), "a.mp4", 4, &["-c:v", "mpeg4", "-q:v", "2"]);
    let turned = dir.path().join("b.mp4");
    make(&program, &["-display_rotation", "90", "-i", straight.to_str().unwrap(), "-c", "copy"], &turned);
    let fit = Preprocess { input_size: (64, 32), crop_pct: 1.0, ..Preprocess::default() };
    let sampling = Sampling::Uniform { frames: 1 };
    let upright = ClipProcessor { sampling, fit: FrameFit::Picture(fit) };
    let (a, b) = (
        whole(sampling).open(&straight, &ClipOptions::default()).unwrap().picture(0, 0),
        upright.open(&turned, &ClipOptions::default()).unwrap().picture(0, 0),
    );
    let same = (0..32).all(|y| (0..64).all(|x| a.data[(y * 64 + x) * 3] == b.data[((63 - x) * 32 + y) * 3]));
    assert!(same, "a quarter turn against the clock");
}

#[test]
fn a_folder_names_the_frame_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let options = ClipOptions::default();
    let processor = whole(Sampling::Uniform { frames: 12 });
    assert!(refused(&processor, dir.path(), &options).contains("is a folder without frames"));
    write_frames(dir.path(), 0..12);
    let clip = processor.open(dir.path(), &options).unwrap();
    assert_eq!(numbers(&clip, 0), (0..12).collect::<Vec<_>>(), "10 comes after 9");

    let fewer = ClipLimits { max_frames: 11, ..ClipLimits::default() };
    let limited = |limits| ClipOptions { limits, ..ClipOptions::default() };
    assert!(refused(&processor, dir.path(), &limited(fewer)).contains("more than 11 frames"));
    let smaller = ClipLimits { max_pixels: 2047, ..ClipLimits::default() };
    assert!(refused(&processor, dir.path(), &limited(smaller)).contains("`max_pixels`"));
    let slow = ClipOptions { fps: Some(0.01), ..ClipOptions::default() };
    assert!(refused(&processor, dir.path(), &slow).contains("longer than 600 s"));

    RgbImage::new(63, 32).save(dir.path().join("7.png")).unwrap();
    let text = refused(&processor, dir.path(), &options);
    assert!(text.contains("0.png is 64x32 and 7.png is 63x32"), "{text}");
    std::fs::write(dir.path().join("5.png"), "no image").unwrap();
    let text = refused(&processor, dir.path(), &options);
    assert!(text.contains("5.png: is not a JPEG"), "{text}");
}

#[test]
fn what_is_no_clip_is_refused_in_one_line() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let options = ClipOptions::default();
    let text = |name: &str| refused(&whole(spans(1)), &path(name), &options);
    let video = write_video(&program, dir.path(), "a.mkv", 64, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();

    write("text.mp4", b"this is a text, and no video at all\n");
    assert!(text("text.mp4").contains("text.mp4: is no video that can be read"), "{}", text("text.mp4"));
    write("empty.mp4", b"");
    assert!(text("empty.mp4").contains("is empty (0 bytes)"));
    assert!(text("gone.mp4").contains("gone.mp4: cannot be read"));
    make(&program, &["-f", "lavfi", "-i", "sine=d=0.5"], &path("sound.m4a"));
    assert!(text("sound.m4a").contains("holds no track of video"));
    make(&program, &["-f", "lavfi", "-i", "testsrc=d=1", "-t", "0", "-c:v", "mpeg4"], &path("nothing.avi"));
    assert!(text("nothing.avi").contains("holds no frames"), "{}", text("nothing.avi"));

    // What names other files is not followed, whatever its ending.
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.mkv\n#EXT-X-ENDLIST\n";
    for name in ["list.m3u8", "list.ts"] {
        write(name, list.as_bytes());
        assert!(text(name).contains("is no video that can be read"), "{}", text(name));
    }
    write("list.mp4", b"ffconcat version 1.0\nfile a.mkv\n");
    assert!(text("list.mp4").contains("it is no MP4, Matroska"), "{}", text("list.mp4"));
    if cfg!(unix) {
        write("two\nlines\u{1b}.mp4", b"text");
        let text = text("two\nlines\u{1b}.mp4");
        assert!(text.contains("two\\nlines\\u{1b}.mp4: is no video"), "{text}");
        let text = refused(&whole(spans(1)), Path::new("/dev/null"), &options);
        assert!(text.contains("is a pipe, socket or device"), "{text}");
    }

    let limited = |limits| ClipOptions { limits, ..ClipOptions::default() };
    let of = |limits| refused(&whole(spans(1)), &video, &limited(limits));
    let default = ClipLimits::default();
    assert!(of(ClipLimits { max_seconds: 2, ..default }).contains("longer than 2 s"));
    assert!(of(ClipLimits { max_frames: 63, ..default }).contains("more than 63 frames"));
    assert!(of(ClipLimits { max_pixels: 2047, ..default }).contains("64x32 pixels, above the limit of 2047"));
}

#[test]
fn a_video_that_was_cut_off_or_damaged_is_refused() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = ClipOptions::default();
    let mpeg4 = ["-c:v", "mpeg4", "-q:v", "2"];
    let whole_file = write_video(&program, dir.path(), "end.mp4", 64, &mpeg4);
    let front = [mpeg4.as_slice(), &["-movflags", "+faststart"]].concat();
    let with_index = write_video(&program, dir.path(), "front.mp4", 64, &front);
    let mkv = write_video(&program, dir.path(), "a.mkv", 64, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    for (path, expected) in [
        (&whole_file, "is no video that can be read (moov atom not found)"),
        (&with_index, "ends before its video does"),
        (&mkv, "ends before its video does"),
    ] {
        let bytes = std::fs::read(path).unwrap();
        let cut = dir.path().join("cut.mp4");
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let text = refused(&whole(spans(1)), &cut, &options);
        println!("{text}");
        assert!(text.contains(expected), "{text}");
    }
    let mut bytes = std::fs::read(&mkv).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2000].fill(0x55);
    std::fs::write(&mkv, &bytes).unwrap();
    let text = refused(&whole(spans(1)), &mkv, &options);
    println!("{text}");
    assert!(text.contains("is damaged: ") && !text.contains("thread"), "{text}");
    // The damage lies behind these.
    let beginning = Sampling::Spans { frames: 4, stride: 1, fps: 30.0, views: 2 };
    assert!(refused(&whole(beginning), &mkv, &options).contains("is damaged"));
    let first = ClipProcessor { sampling: Sampling::Uniform { frames: 1 }, ..whole(beginning) };
    assert_eq!(numbers(&first.open(&mkv, &options).unwrap(), 0), [0]);
}

/// A program that a script stands for.
#[cfg(unix)]
fn scripted(dir: &Path, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = dir.join("ffmpeg-of-a-test");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[cfg(unix)]
#[test]
fn a_program_that_never_ends_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("a.mp4");
    std::fs::write(&video, b"anything").unwrap();
    let packets = "echo '#tb 0: 1/30'; for at in 0 1 2; do echo \"0, $at, $at, 1, 9, 0x1\"; done";
    let frame = "printf 'P6\n2 1\n255\n123456'";
    let counting = |does: &str| format!("#!/bin/sh\ncase \"$*\" in *framecrc*) {does};; esac\n");
    let decoding =
        |does: &str| format!("#!/bin/sh\ncase \"$*\" in *framecrc*) {packets};; *) {does};; esac\n");
    let refused_as = |script: &str| {
        let limits = ClipLimits { max_wait: std::time::Duration::from_millis(300), ..ClipLimits::default() };
        let options = ClipOptions { ffmpeg: Some(scripted(dir.path(), script)), limits, fps: None };
        let begun = std::time::Instant::now();
        let refused = || refused(&whole(Sampling::Uniform { frames: 3 }), &video, &options);
        // A process that another test is starting may hold the script open for a moment.
        let busy = |text: &String| text.contains("Text file busy");
        let text = std::iter::repeat_with(refused).find(|text| !busy(text)).unwrap();
        assert!(begun.elapsed().as_secs() < 20, "{script}");
        text
    };
    for (name, script) in [
        ("silent", counting("exec sleep 60")),
        ("silent, as a program of the program", counting("sleep 60")),
        ("silent after some packets", counting(&format!("{packets}; exec sleep 60"))),
        ("silent with its pipe closed", counting(&format!("{packets}; exec >&-; exec sleep 60"))),
        ("silent with both pipes closed", counting(&format!("{packets}; exec >&- 2>&-; exec sleep 60"))),
        ("without a frame", decoding("exec sleep 60")),
        ("in the middle of a frame", decoding("printf 'P6\n2 1\n255\n123'; exec sleep 60")),
        ("after a frame", decoding(&format!("{frame}; exec sleep 60"))),
        ("byte by byte", decoding("printf 'P6\n'; while :; do printf 0; sleep 0.1; done")),
    ] {
        let text = refused_as(&script);
        assert!(text.contains("a.mp4: keeps ffmpeg waiting: no frame came for 0.3 s"), "{name}: {text}");
        assert!(text.contains("`max_wait`"), "{name}: {text}");
    }
    let text = refused_as(&counting("exec yes"));
    assert!(text.contains("wrote no list of packets"), "{text}");
    let text = refused_as(&counting("exec tr '\\0' x < /dev/zero"));
    assert!(text.contains("wrote no list of packets"), "{text}");
    let text = refused_as(&counting("while :; do echo '0, 1, 1, 1, 9, 0x1'; done"));
    assert!(text.contains("more than 100000 frames"), "{text}");
}

#[cfg(unix)]
#[test]
fn what_is_done_with_a_frame_is_no_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("a.mp4");
    std::fs::write(&video, b"anything").unwrap();
    // Steadily slow, and longer as a whole than one frame may take.
    let script = "#!/bin/sh\ncase \"$*\" in\n*framecrc*) for at in 0 1 2 3; do sleep 0.3; echo \"0, $at, $at, 1, 9, 0x1\"; \
                  done;;\n*) for at in 0 1 2 3; do sleep 0.3; printf 'P6\n2 1\n255\n123456'; done;;\nesac\n";
    let limits = ClipLimits { max_wait: std::time::Duration::from_millis(900), ..ClipLimits::default() };
    let options = ClipOptions { ffmpeg: Some(scripted(dir.path(), script)), limits, fps: None };
    let clip = whole(Sampling::Uniform { frames: 4 }).open(&video, &options).unwrap();
    assert_eq!((clip.video_frames(), clip.frames()), (4, 4));
}

#[cfg(unix)]
#[test]
fn an_older_program_is_asked_in_its_own_words() {
    let Some(program) = ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let video = write_video(&program, dir.path(), "a.mkv", 20, &["-c:v", "ffv1", "-pix_fmt", "gbrp"]);
    let script = format!(
        "#!/bin/bash\nwords=()\nfor word in \"$@\"; do\n[ \"$word\" = -fps_mode ] && \
         {{ echo \"Unrecognized option 'fps_mode'.\" >&2; exit 1; }}\n\
         [ \"$word\" = -vsync ] && word=-fps_mode\nwords+=(\"$word\")\ndone\nexec '{}' \"${{words[@]}}\"\n",
        program.display()
    );
    let older = scripted(dir.path(), &script);
    let options = ClipOptions { ffmpeg: Some(older), ..ClipOptions::default() };
    let clip = whole(Sampling::Uniform { frames: 3 }).open(&video, &options).unwrap();
    assert_eq!(numbers(&clip, 0), [0, 9, 19]);
}

#[test]
fn a_program_that_is_absent_or_no_ffmpeg_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let video = dir.path().join("a.mp4");
    std::fs::write(&video, b"anything").unwrap();
    let with = |program: &Path| ClipOptions { ffmpeg: Some(program.to_path_buf()), ..ClipOptions::default() };
    let absent = with(&dir.path().join("no-ffmpeg"));
    let text = refused(&whole(spans(1)), &video, &absent);
    for part in
        ["a.mp4: needs ffmpeg", "no-ffmpeg", "apt install", "brew install", "TOKMERGE_FFMPEG", "folder"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = whole(spans(1)).open(&video, &absent).unwrap_err();
    assert!(
        matches!(error, ClipError::InFile { source, .. } if matches!(*source, ClipError::NoFfmpeg { .. }))
    );
    // A folder of frames needs no program.
    write_frames(dir.path(), 0..2);
    assert!(whole(spans(1)).open(dir.path(), &absent).is_ok());
}
