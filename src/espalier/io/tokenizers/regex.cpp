#include "espalier/io/tokenizers/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <new>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
// Steps for one match, plus some for each byte of the text: a harmless pattern needs a few for each byte that it
// matches, an exponential one 2^n.
constexpr uint64_t kMatchLimit = 1'000'000, kMatchLimitPerByte = 16;
constexpr uint32_t kDepthLimit = 100'000, kHeapLimitKiB = 128 << 10;
constexpr size_t kJitStackBytes = 1 << 20;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};

// What a match needs beside the pattern, once for each thread.
struct Workspace {
  std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> data{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)};
  Workspace() {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKiB);
  }
};

Workspace& workspace() {
  thread_local Workspace own;
  return own;
}

std::string message_of(int code) {
  unsigned char text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

pcre2_code* compile(std::string_view pattern, uint32_t options, const std::string& where) {
  std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t position = 0;
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &position,
                             context.get());
  if (!code)
    user_error("{}: regular expression '{}': {} at byte {}", where, printable(pattern), message_of(error), position);
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
  return code;
}

}  // namespace

Regex::Regex(std::string_view pattern, Syntax syntax, const std::string& where)
    : where_(fmt::format("{}: regular expression '{}'", where, printable(pattern))) {
  if (pattern.size() > kMaxPatternBytes)
    user_error("{}: a pattern of {} bytes; at most {}", where, pattern.size(), kMaxPatternBytes);
  const bool literal = syntax == Syntax::kLiteral;
  const std::string translated = literal ? std::string(pattern) : from_oniguruma(pattern, where);
  const uint32_t options =
      PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
  code_.reset(static_cast<const void*>(compile(translated, options, where)),
              [](const void* code) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(code))); });
}

bool Regex::find(std::string_view text, size_t from, Span& match) const {
  Workspace& own = workspace();
  const uint64_t limit = std::min<uint64_t>(kMatchLimit + kMatchLimitPerByte * text.size(), UINT32_MAX);
  pcre2_set_match_limit(own.context.get(), static_cast<uint32_t>(limit));
  // The text is known to be UTF-8; checking it at every match would make a walk through it quadratic.
  const int found = pcre2_match(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), from, PCRE2_NO_UTF_CHECK, own.data.get(), own.context.get());
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) user_error("{}: gave up: {}", where_, message_of(found));
  const size_t* ends = pcre2_get_ovector_pointer(own.data.get());
  // \K in a lookahead can put the start behind the end, and in a lookbehind before what is already covered.
  if (ends[0] > ends[1] || ends[0] < from)
    user_error("{}: a match that starts behind its end or before the last one", where_);
  match = {ends[0], ends[1], true};
  return true;
}

bool Regex::Cursor::search(Span& match) {
  while (from_ <= text_.size() && regex_.find(text_, from_, match)) {
    if (match.begin != match.end || match.end != last_end_) {
      from_ = last_end_ = match.end;
      return true;
    }
    from_ += from_ < text_.size() ? char_bytes(static_cast<unsigned char>(text_[from_])) : 1;
  }
  return false;
}

bool Regex::Cursor::next(Span& span) {
  if (has_held_) {
    has_held_ = false;
    span = held_;
  } else if (done_) {
    return false;
  } else if (search(held_)) {
    has_held_ = held_.begin != covered_;
    span = has_held_ ? Span{covered_, held_.begin, false} : held_;
  } else {
    done_ = true;
    span = {covered_, text_.size(), false};
    if (span.begin == span.end) return false;
  }
  covered_ = span.end;
  return true;
}

std::string Regex::replace_all(std::string_view text, std::string_view replacement) const {
  std::string out;
  out.reserve(text.size());
  Cursor cursor = spans(text);
  for (Span span; cursor.next(span);) {
    out += span.match ? replacement : text.substr(span.begin, span.end - span.begin);
    check_growth(out.size(), text.size(), where_);
  }
  return out;
}

}  // namespace espalier::tok
