// What becomes of the matches of a pattern when text is split at them.
#pragma once

#include "espalier/io/tokenizers/pre_tokenizer.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {

enum class SplitBehavior {
  kRemoved,             // matches vanish
  kIsolated,            // each is a piece
  kMergedWithPrevious,  // each joins the stretch before it
  kMergedWithNext,      // each joins the stretch after it
  kContiguous,          // neighbouring matches are one piece
};

// Spans from a class of characters; each character of the class is one match.
template <typename InClass>
class CharSpans {
 public:
  CharSpans(std::string_view text, InClass in_class) : text_(text), in_class_(in_class) {}
  bool next(Span& span) {
    if (at_ >= text_.size()) return false;
    span.begin = at_;
    span.match = in_class_(next_char(text_, at_));
    while (!span.match && at_ < text_.size()) {
      size_t after = at_;
      if (in_class_(next_char(text_, after))) break;
      at_ = after;
    }
    span.end = at_;
    return true;
  }

 private:
  std::string_view text_;
  InClass in_class_;
  size_t at_ = 0;
};

// Sends the pieces of `piece` to `sink`. `spans` has bool next(Span&); invert exchanges matches and the rest.
template <typename Spans>
class Splitter {
 public:
  Splitter(Piece piece, SplitBehavior behavior, bool invert, PieceSink& sink)
      : piece_(piece), behavior_(behavior), invert_(invert), sink_(sink) {}

  void run(Spans spans) {
    for (Span span; spans.next(span);) {
      span.match ^= invert_;
      switch (behavior_) {
        case SplitBehavior::kRemoved:
          if (!span.match) emit(span);
          break;
        case SplitBehavior::kIsolated:
          emit(span);
          break;
        case SplitBehavior::kContiguous:
          join_if(span.match == previous_match_, span);
          break;
        case SplitBehavior::kMergedWithPrevious:
          join_if(span.match && !previous_match_, span);
          break;
        case SplitBehavior::kMergedWithNext:
          join_if(!span.match && previous_match_, span);
          break;
      }
      previous_match_ = span.match;
    }
    if (has_held_) emit(held_);
  }

 private:
  void join_if(bool join, Span span) {
    if (has_held_ && join) {
      held_.end = span.end;
      return;
    }
    if (has_held_) emit(held_);
    held_ = span;
    has_held_ = true;
  }
  void emit(Span span) {
    if (span.begin == span.end) return;
    sink_.take({piece_.text.substr(span.begin, span.end - span.begin), span.begin == 0 ? piece_.left : Left::kInside});
  }

  Piece piece_;
  SplitBehavior behavior_;
  bool invert_;
  PieceSink& sink_;
  Span held_{};
  bool has_held_ = false, previous_match_ = false;
};

template <typename Spans>
void split_at(Spans spans, Piece piece, SplitBehavior behavior, bool invert, PieceSink& sink) {
  Splitter<Spans>(piece, behavior, invert, sink).run(std::move(spans));
}

}  // namespace espalier::tok
