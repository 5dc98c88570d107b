#include "espalier/io/tokenizers/bpe.h"

#include <queue>

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/unicode.h"

namespace espalier::tok {
namespace {

struct Candidate {
  int32_t rank, position, id;
  // For std::priority_queue, which puts the largest on top.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

// A doubly linked list in an array: neighbours by position, ids changed in place.
class Chain {
 public:
  explicit Chain(std::vector<int32_t>& ids) : ids_(ids), links_(ids.size()) {
    for (size_t i = 0; i < ids.size(); ++i) links_[i] = {static_cast<int32_t>(i) - 1, static_cast<int32_t>(i) + 1};
    if (!links_.empty()) links_.back().next = -1;
  }
  int32_t id(int32_t at) const { return ids_[static_cast<size_t>(at)]; }
  int32_t next(int32_t at) const { return links_[static_cast<size_t>(at)].next; }
  int32_t previous(int32_t at) const { return links_[static_cast<size_t>(at)].previous; }
  bool alive(int32_t at) const { return id(at) >= 0; }

  // `at` and its right neighbour become one symbol at `at`.
  void join(int32_t at, int32_t id) {
    const int32_t right = next(at), after = next(right);
    ids_[static_cast<size_t>(at)] = id;
    ids_[static_cast<size_t>(right)] = -1;
    links_[static_cast<size_t>(at)].next = after;
    if (after >= 0) links_[static_cast<size_t>(after)].previous = at;
  }

 private:
  struct Link {
    int32_t previous, next;
  };
  std::vector<int32_t>& ids_;
  std::vector<Link> links_;
};

}  // namespace

Bpe::Bpe(Vocab vocab, PairTable merges, BpeOptions options)
    : Model(std::move(vocab)),
      merges_(std::move(merges)),
      options_(std::move(options)),
      byte_tokens_(vocab_.byte_tokens()),
      cuts_at_space_symbol_(options_.continuing_prefix.empty() && options_.end_suffix.empty() &&
                            !options_.ignore_merges && space_symbol_only_leads()) {}

void Bpe::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto id = vocab_.find(piece)) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<int32_t> symbols;
  start(piece, symbols);
  join(symbols);
  for (int32_t id : symbols) {
    if (id >= 0) ids.push_back(id);
  }
}

std::optional<int32_t> Bpe::char_token(std::string_view piece, size_t begin, size_t end) const {
  const std::string_view text = piece.substr(begin, end - begin);
  const bool prefixed = begin > 0 && !options_.continuing_prefix.empty();
  const bool suffixed = end == piece.size() && !options_.end_suffix.empty();
  if (!prefixed && !suffixed) return vocab_.find(text);
  return vocab_.find((prefixed ? options_.continuing_prefix : "") + std::string(text) +
                     (suffixed ? options_.end_suffix : ""));
}

bool Bpe::append_bytes(std::string_view text, std::vector<int32_t>& ids) const {
  for (unsigned char byte : text) {
    if (byte_tokens_[byte] < 0) return false;
  }
  for (unsigned char byte : text) ids.push_back(byte_tokens_[byte]);
  return true;
}

int32_t Bpe::unk_id(std::string_view text) const {
  if (!options_.unk_id)
    user_error("the tokenizer has no token for '{}' and its unknown token '{}' is not in the vocabulary",
               printable(text), printable(options_.unk_token));
  return *options_.unk_id;
}

void Bpe::start(std::string_view piece, std::vector<int32_t>& ids) const {
  ids.reserve(piece.size());
  bool after_unk = false;
  for (size_t begin = 0, end = 0; begin < piece.size(); begin = end) {
    end = begin + char_bytes(static_cast<unsigned char>(piece[begin]));
    const std::string_view text = piece.substr(begin, end - begin);
    const auto id = char_token(piece, begin, end);
    if (id) ids.push_back(*id);
    const bool known = id || (options_.byte_fallback && append_bytes(text, ids));
    // Without an unknown token, unknown characters vanish.
    if (!known && !options_.unk_token.empty() && !(after_unk && options_.fuse_unk)) ids.push_back(unk_id(text));
    after_unk = !known;
  }
}

void Bpe::join(std::vector<int32_t>& ids) const {
  Chain chain(ids);
  std::vector<Candidate> first;
  const auto candidate = [&](int32_t at) -> std::optional<Candidate> {
    const Merge merge = merges_.find(chain.id(at), chain.id(chain.next(at)));
    return merge.rank < 0 ? std::nullopt : std::optional(Candidate{merge.rank, at, merge.id});
  };
  for (int32_t at = 0; at + 1 < static_cast<int32_t>(ids.size()); ++at) {
    if (const auto found = candidate(at)) first.push_back(*found);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(first));
  const auto push = [&](int32_t at) {
    if (const auto found = candidate(at)) queue.push(*found);
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const int32_t at = top.position;
    // An entry is stale if its symbols were joined to others meanwhile; one whose pair changed but joins to the
    // same token keeps its place in the queue.
    if (!chain.alive(at) || chain.next(at) < 0) continue;
    if (merges_.find(chain.id(at), chain.id(chain.next(at))).id != top.id) continue;
    chain.join(at, top.id);
    if (chain.previous(at) >= 0) push(chain.previous(at));
    if (chain.next(at) >= 0) push(at);
  }
}

}  // namespace espalier::tok
