#include <csetjmp>
#include <cstdio>  // jpeglib.h wants FILE

#include <jerror.h>
#include <jpeglib.h>

#include "espalier/core/error.h"
#include "espalier/io/images/codecs.h"

namespace espalier {
namespace {

// A progressive file can ask for any number of passes over all of its pixels; honest ones have about ten.
constexpr int kMaxScans = 200;
// Huffman codes take at least one bit for each block of 8 x 8 pixels.
constexpr uint64_t kMaxPixelsPerByte = 8 * 64;

struct ErrorState {
  jpeg_error_mgr manager;  // first, so that libjpeg's pointer to it is a pointer to this
  std::jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  info->err->format_message(info, state->text);
  std::longjmp(state->jump, 1);
}

// libjpeg goes on after damaged data and fills the rest with grey; half a picture must not be measured as a whole one.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
      return;
    default:
      on_error(info);
  }
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  std::snprintf(state->text, sizeof state->text, "more than %d scans", kMaxScans);
  std::longjmp(state->jump, 1);
}

class JpegReader {
 public:
  JpegReader(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = on_error;
    errors_.manager.emit_message = on_message;
    progress_.progress_monitor = on_progress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;

  Picture read() {
    guarded([this] { read_header(); });
    check_picture_size(info_.image_width, info_.image_height, info_.arith_code ? UINT64_MAX : file_.size() * kMaxPixelsPerByte, where_);
    choose_colours();
    guarded([this] { jpeg_start_decompress(&info_); });
    Picture picture{static_cast<int64_t>(info_.output_height), static_cast<int64_t>(info_.output_width), info_.output_components, {}};
    picture.pixels.resize(static_cast<size_t>(picture.height * picture.width * picture.channels));
    uint8_t* pixels = picture.pixels.data();
    guarded([this, pixels] { read_rows(pixels); });
    if (picture.channels == 4) picture = from_cmyk(picture);
    return picture;
  }

 private:
  // libjpeg's errors jump back here, over its own frames and those of `body`, which therefore owns nothing.
  template <typename Body>
  void guarded(Body body) {
    if (setjmp(errors_.jump) != 0) user_error("{}: JPEG: {}", where_, errors_.text);
    body();
  }

  void read_header() {
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(file_.data()), file_.size());
    jpeg_read_header(&info_, TRUE);
  }

  void choose_colours() {
    switch (info_.num_components) {
      case 1:
        info_.out_color_space = JCS_GRAYSCALE;
        return;
      case 3:
        info_.out_color_space = JCS_RGB;
        return;
      case 4:
        info_.out_color_space = JCS_CMYK;
        return;
      default:
        throw UserError(where_, "JPEG components", "1, 3 or 4", fmt::format("{}", info_.num_components));
    }
  }

  void read_rows(uint8_t* pixels) {
    const size_t row_bytes = size_t{info_.output_width} * static_cast<size_t>(info_.output_components);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = pixels + info_.output_scanline * row_bytes;
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
  }

  // Files with Adobe's marker store 255 - ink.
  Picture from_cmyk(const Picture& inks) const {
    Picture rgb{inks.height, inks.width, 3, {}};
    rgb.pixels.reserve(static_cast<size_t>(inks.height * inks.width * 3));
    const int flip = info_.saw_Adobe_marker ? 0 : 255;
    for (size_t at = 0; at < inks.pixels.size(); at += 4) {
      const int key = inks.pixels[at + 3] ^ flip;
      for (size_t c = 0; c < 3; ++c) rgb.pixels.push_back(static_cast<uint8_t>(((inks.pixels[at + c] ^ flip) * key + 127) / 255));
    }
    return rgb;
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  jpeg_decompress_struct info_{};
  jpeg_progress_mgr progress_{};
  ErrorState errors_{};
};

}  // namespace

Picture decode_jpeg(std::span<const std::byte> file, const std::string& where) { return JpegReader(file, where).read(); }

}  // namespace espalier
