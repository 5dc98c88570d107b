#include "espalier/io/torch_pickle_machine.h"

#include <array>
#include <unordered_map>

#include "espalier/core/byte_reader.h"
#include "espalier/core/error.h"
#include "espalier/io/torch_pickle_objects.h"

namespace espalier {
namespace {

constexpr size_t kMaxStack = 1'000'000;
constexpr uint64_t kMaxGlobalBytes = 256;

struct RefusedOpcode {
  uint8_t code;
  std::string_view name;
};

// Opcodes that exist, but that torch.save does not write for tensors.
constexpr auto kRefused = std::to_array<RefusedOpcode>({
    {'F', "FLOAT"},
    {'I', "INT"},
    {'L', "LONG"},
    {'S', "STRING"},
    {'V', "UNICODE"},
    {'P', "PERSID"},
    {'i', "INST"},
    {'o', "OBJ"},
    {'g', "GET"},
    {'p', "PUT"},
    {0x82, "EXT1"},
    {0x83, "EXT2"},
    {0x84, "EXT4"},
    {0x92, "NEWOBJ_EX"},
    {0x96, "BYTEARRAY8"},
    {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
});

class Machine {
 public:
  Machine(std::span<const std::byte> bytes, uint64_t begin, const std::string& where)
      : reader_(bytes, where, begin), begin_(begin) {}

  Pickle run() {
    while (!done_) {
      opcode_at_ = reader_.position();
      const auto code = reader_.number<uint8_t>();
      const Step step = kSteps[code];
      if (!step) refuse_opcode(code);
      (this->*step)();
    }
    pickle_.end = reader_.position();
    return std::move(pickle_);
  }

 private:
  using Step = void (Machine::*)();
  using Items = std::vector<uint32_t>;
  static const std::array<Step, 256> kSteps;
  static std::array<Step, 256> make_steps();

  [[noreturn]] void fail(const std::string& what) const {
    user_error("{}: pickle at byte {}: {}", reader_.where(), opcode_at_ - begin_, what);
  }

  [[noreturn]] void refuse_opcode(uint8_t code) const {
    for (const RefusedOpcode& refused : kRefused)
      if (refused.code == code) fail(fmt::format("the opcode {} is not allowed", refused.name));
    fail(fmt::format("unknown opcode 0x{:02x}", code));
  }

  // The stack. Values below the newest mark belong to the one who set it.
  void push(uint32_t node) {
    if (stack_.size() == kMaxStack) fail(fmt::format("more than {} values on the stack", kMaxStack));
    stack_.push_back(node);
  }
  void push(PickleNode node) { push(add_pickle_node(pickle_, std::move(node), reader_.where())); }
  uint32_t top() const {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("the stack is empty");
    return stack_.back();
  }
  uint32_t pop() {
    const uint32_t node = top();
    stack_.pop_back();
    return node;
  }
  Items pop_to_mark() {
    if (marks_.empty()) fail("no mark on the stack");
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    Items items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  PickleNode& node(uint32_t index) { return pickle_.nodes[index]; }

  // Scalars.
  void none() { push(PickleNode{PickleKind::kNone}); }
  void boolean(bool value) { push(PickleNode{PickleKind::kBool, {}, value}); }
  void yes() { boolean(true); }
  void no() { boolean(false); }
  template <typename T>
  void integer() {
    push(PickleNode{PickleKind::kInt, {}, reader_.number<T>()});
  }
  template <typename Length>
  void large_integer() {
    const std::string_view bytes = reader_.text(length<Length>());
    if (bytes.size() > sizeof(int64_t)) return push(PickleNode{PickleKind::kLargeInt, {}, 0, bytes});
    const bool negative = !bytes.empty() && (bytes.back() & 0x80);
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    push(PickleNode{PickleKind::kInt, {}, static_cast<int64_t>(value)});
  }
  void real() {
    reader_.skip(sizeof(double));  // no real number matters for a tensor
    push(PickleNode{PickleKind::kFloat});
  }
  template <typename Length>
  uint64_t length() {
    const auto count = reader_.number<Length>();
    if (count < 0 || static_cast<uint64_t>(count) > reader_.remaining())
      fail(fmt::format("a text of {} bytes in a file with {} left", count, reader_.remaining()));
    return static_cast<uint64_t>(count);
  }
  template <typename Length, PickleKind kind>
  void text() {
    push(PickleNode{kind, {}, 0, reader_.text(length<Length>())});
  }

  // Containers.
  void mark() {
    if (marks_.size() == kMaxStack) fail(fmt::format("more than {} marks", kMaxStack));
    marks_.push_back(stack_.size());
  }
  void pop_mark() { pop_to_mark(); }
  void drop() { pop(); }
  void duplicate() { push(top()); }
  template <PickleKind kind>
  void empty() {
    push(PickleNode{kind});
  }
  template <PickleKind kind>
  void from_mark() {
    Items items = pop_to_mark();
    if (kind == PickleKind::kDict && items.size() % 2 != 0) fail("a dictionary key without a value");
    push(PickleNode{kind, {}, 0, {}, std::move(items)});
  }
  template <int kCount>
  void short_tuple() {
    Items items(kCount);
    for (size_t i = kCount; i-- > 0;) items[i] = pop();
    push(PickleNode{PickleKind::kTuple, {}, 0, {}, std::move(items)});
  }
  // Values of an inert object do not matter.
  void extend(PickleKind kind, const Items& items) {
    PickleNode& target = node(top());
    if (target.kind == PickleKind::kInert) return;
    if (target.kind != kind) fail("items are added to what is not a container");
    if (kind == PickleKind::kDict && items.size() % 2 != 0) fail("a dictionary key without a value");
    count_pickle_items(pickle_, items.size(), reader_.where());
    target.items.insert(target.items.end(), items.begin(), items.end());
  }
  void append() {
    const uint32_t item = pop();
    extend(PickleKind::kList, {item});
  }
  void extend_list() { extend(PickleKind::kList, pop_to_mark()); }
  void set_item() {
    const uint32_t value = pop(), key = pop();
    extend(PickleKind::kDict, {key, value});
  }
  void set_items() { extend(PickleKind::kDict, pop_to_mark()); }

  // The memo.
  void put(uint32_t slot) {
    if (memo_.size() == kMaxPickleNodes) fail(fmt::format("more than {} memo entries", kMaxPickleNodes));
    memo_[slot] = top();
  }
  void get(uint32_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) fail(fmt::format("the memo has no entry {}", slot));
    push(found->second);
  }
  template <typename Slot>
  void memo_put() {
    put(reader_.number<Slot>());
  }
  template <typename Slot>
  void memo_get() {
    get(reader_.number<Slot>());
  }
  void memoize() { put(static_cast<uint32_t>(memo_.size())); }

  // Names and objects.
  void push_global(std::string_view module, std::string_view name) {
    const auto global = find_torch_global(module, name);
    if (!global)
      fail(fmt::format("the Python name {}.{} is not allowed: only plain state dicts of tensors can be read",
                       printable(module), printable(name)));
    push(PickleNode{PickleKind::kGlobal, *global});
  }
  void global() {
    const std::string_view module = reader_.line(kMaxGlobalBytes), name = reader_.line(kMaxGlobalBytes);
    push_global(module, name);
  }
  void stack_global() {
    const PickleNode name = node(pop()), module = node(pop());
    if (name.kind != PickleKind::kText || module.kind != PickleKind::kText) fail("a Python name that is not text");
    push_global(module.text, name.text);
  }
  void reduce() {
    const uint32_t arguments = pop(), callee = pop();
    push(build_pickle_object(pickle_, callee, arguments, place()));
  }
  void persistent() {
    const uint32_t id = pop();
    push(build_pickle_storage(pickle_, id, place()));
  }
  void build() {
    pop();  // the state: _metadata of a state dict, attributes of a parameter
    const PickleKind kind = node(top()).kind;
    if (kind != PickleKind::kDict && kind != PickleKind::kTensor && kind != PickleKind::kInert)
      fail("BUILD of what is not an object");
  }
  std::string place() const { return fmt::format("{}: pickle at byte {}", reader_.where(), opcode_at_ - begin_); }

  // Frame.
  void protocol() {
    const auto version = reader_.number<uint8_t>();
    if (version < 2 || version > 5) fail(fmt::format("pickle protocol {}; 2 to 5 can be read", version));
  }
  void frame() { reader_.skip(sizeof(uint64_t)); }
  void stop() {
    pickle_.root = pop();
    done_ = true;
  }

  ByteReader reader_;
  uint64_t begin_, opcode_at_ = 0;
  Pickle pickle_;
  Items stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, uint32_t> memo_;
  bool done_ = false;
};

std::array<Machine::Step, 256> Machine::make_steps() {
  std::array<Step, 256> steps{};
  steps[0x80] = &Machine::protocol;
  steps[0x95] = &Machine::frame;
  steps['.'] = &Machine::stop;
  steps['N'] = &Machine::none;
  steps[0x88] = &Machine::yes;
  steps[0x89] = &Machine::no;
  steps['K'] = &Machine::integer<uint8_t>;
  steps['M'] = &Machine::integer<uint16_t>;
  steps['J'] = &Machine::integer<int32_t>;
  steps[0x8a] = &Machine::large_integer<uint8_t>;
  steps[0x8b] = &Machine::large_integer<int32_t>;
  steps['G'] = &Machine::real;
  steps['X'] = &Machine::text<uint32_t, PickleKind::kText>;
  steps[0x8c] = &Machine::text<uint8_t, PickleKind::kText>;
  steps[0x8d] = &Machine::text<uint64_t, PickleKind::kText>;
  steps['T'] = &Machine::text<int32_t, PickleKind::kText>;
  steps['U'] = &Machine::text<uint8_t, PickleKind::kText>;
  steps['B'] = &Machine::text<uint32_t, PickleKind::kBytes>;
  steps['C'] = &Machine::text<uint8_t, PickleKind::kBytes>;
  steps[0x8e] = &Machine::text<uint64_t, PickleKind::kBytes>;
  steps['('] = &Machine::mark;
  steps['0'] = &Machine::drop;
  steps['1'] = &Machine::pop_mark;
  steps['2'] = &Machine::duplicate;
  steps[']'] = &Machine::empty<PickleKind::kList>;
  steps[')'] = &Machine::empty<PickleKind::kTuple>;
  steps['}'] = &Machine::empty<PickleKind::kDict>;
  steps[0x8f] = &Machine::empty<PickleKind::kList>;  // a set
  steps['l'] = &Machine::from_mark<PickleKind::kList>;
  steps['t'] = &Machine::from_mark<PickleKind::kTuple>;
  steps['d'] = &Machine::from_mark<PickleKind::kDict>;
  steps[0x91] = &Machine::from_mark<PickleKind::kList>;  // a frozen set
  steps[0x85] = &Machine::short_tuple<1>;
  steps[0x86] = &Machine::short_tuple<2>;
  steps[0x87] = &Machine::short_tuple<3>;
  steps['a'] = &Machine::append;
  steps['e'] = &Machine::extend_list;
  steps[0x90] = &Machine::extend_list;  // a set
  steps['s'] = &Machine::set_item;
  steps['u'] = &Machine::set_items;
  steps['q'] = &Machine::memo_put<uint8_t>;
  steps['r'] = &Machine::memo_put<uint32_t>;
  steps['h'] = &Machine::memo_get<uint8_t>;
  steps['j'] = &Machine::memo_get<uint32_t>;
  steps[0x94] = &Machine::memoize;
  steps['c'] = &Machine::global;
  steps[0x93] = &Machine::stack_global;
  steps['R'] = &Machine::reduce;
  steps[0x81] = &Machine::reduce;  // NEWOBJ: the same for what is never executed
  steps['b'] = &Machine::build;
  steps['Q'] = &Machine::persistent;
  return steps;
}

const std::array<Machine::Step, 256> Machine::kSteps = Machine::make_steps();

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, uint64_t begin, const std::string& where) {
  return Machine(bytes.first(std::min<size_t>(bytes.size(), begin + kMaxPickleBytes)), begin, where).run();
}

const PickleNode* Pickle::find(const PickleNode& dict, std::string_view key) const {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (const PickleNode& name = node(dict.items[i]); name.kind == PickleKind::kText && name.text == key)
      return &node(dict.items[i + 1]);
  return nullptr;
}

}  // namespace espalier
