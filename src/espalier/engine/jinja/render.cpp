#include "espalier/engine/jinja/render.h"

#include <algorithm>
#include <utility>

#include "espalier/engine/jinja/functions.h"

namespace espalier::jinja {
namespace {

constexpr int kMostCalls = 50, kMostDepth = 150, kMostRange = 100'000;

struct Frame {
  const Frame* parent;
  Members names;

  const Value* find(std::string_view name) const {
    for (const Frame* frame = this; frame; frame = frame->parent)
      for (const auto& member : frame->names)
        if (member.first == name) return &member.second;
    return nullptr;
  }
  void set(const std::string& name, Value value) {
    for (auto& member : names)
      if (member.first == name) return (void)(member.second = std::move(value));
    names.emplace_back(name, std::move(value));
  }
};

enum class Flow { kNext, kBreak, kContinue };

class Renderer {
 public:
  Renderer(const Members& variables, std::time_t now, Budget& budget) : now_(now), budget_(budget) {
    for (const char* name : {"range", "namespace", "dict", "raise_exception", "strftime_now"}) globals_.set(name, Function{name});
    for (const auto& [name, value] : variables) globals_.set(name, value);
  }

  std::string run(const Body& body) {
    top_.parent = &globals_;
    run(body, top_);
    return std::move(out_);
  }

 private:
  // --- statements
  Flow run(const Body& body, Frame& frame) {
    for (const Statement& statement : body)
      if (const Flow flow = run(statement, frame); flow != Flow::kNext) return flow;
    return Flow::kNext;
  }

  Flow run(const Statement& statement, Frame& frame) {
    budget_.step();
    budget_.line = statement.line;
    switch (statement.kind) {
      case Statement::kText: write(statement.text); break;
      case Statement::kPrint: write(written(evaluate(*statement.value, frame), budget_)); break;
      case Statement::kIf: return run(evaluate(*statement.value, frame).truth() ? statement.body : statement.otherwise, frame);
      case Statement::kFor: loop(statement, frame); break;
      case Statement::kSet: assign(statement, evaluate(*statement.value, frame), frame); break;
      case Statement::kSetBlock: frame.set(statement.names.front(), captured(statement, frame)); break;
      case Statement::kFilterBlock: write(written(captured(statement, frame), budget_)); break;
      case Statement::kMacro: frame.set(statement.text, Function{statement.text, &statement}); break;
      case Statement::kBreak: return Flow::kBreak;
      case Statement::kContinue: return Flow::kContinue;
    }
    return Flow::kNext;
  }

  void write(const std::string& text) {
    budget_.text(text.size());
    out_ += text;
  }

  // What a block writes, through its filters.
  Value captured(const Statement& statement, const Frame& frame) {
    std::string outer = std::exchange(out_, "");
    Frame inside{&frame, {}};
    run(statement.body, inside);
    Value text = std::exchange(out_, std::move(outer));
    return statement.value ? filtered(*statement.value, text, frame) : text;
  }

  Value filtered(const Expression& filter, const Value& innermost, const Frame& frame) {
    const Value value = filter.parts.front() ? filtered(*filter.parts.front(), innermost, frame) : innermost;
    return apply_filter(filter.name, value, arguments(filter, frame), budget_);
  }

  void unpack(const std::vector<std::string>& names, const Value& value, Frame& frame) {
    if (names.size() == 1) return frame.set(names.front(), value);
    const List items = elements(value, budget_);
    if (items.size() != names.size())
      budget_.fail("expected " + std::to_string(names.size()) + " values to unpack, found " + std::to_string(items.size()));
    for (size_t i = 0; i < names.size(); ++i) frame.set(names[i], items[i]);
  }

  void assign(const Statement& statement, Value value, Frame& frame) {
    if (statement.text.empty()) return unpack(statement.names, value, frame);
    const Value* target = frame.find(statement.names.front());
    if (!target || !target->is<std::shared_ptr<Namespace>>()) budget_.fail("only a namespace's attributes can be set");
    check_namespace_member(value);
    Members& members = target->get<std::shared_ptr<Namespace>>()->members;
    const auto at = std::find_if(members.begin(), members.end(), [&](const auto& member) { return member.first == statement.text; });
    if (at != members.end()) at->second = std::move(value);
    else members.emplace_back(statement.text, std::move(value));
  }

  // Whether a namespace is in it. Fails where values are nested so deeply that whatever recurses would be at risk.
  bool inspect(const Value& value, int depth = 0) {
    budget_.step();
    if (depth > kMostDepth) budget_.fail("values nested too deeply");
    bool holds = value.is<std::shared_ptr<Namespace>>();
    if (value.is_list())
      for (const Value& one : value.items()) holds |= inspect(one, depth + 1);
    if (value.is_dict())
      for (const auto& member : value.members()) holds |= inspect(member.second, depth + 1);
    return holds;
  }

  Value inspected(Value value) {
    inspect(value);
    return value;
  }

  void check_namespace_member(const Value& value) {
    if (inspect(value)) budget_.fail("a namespace within a namespace");  // could contain itself
  }

  List loop_items(const Statement& statement, const Frame& frame) {
    List items = elements(evaluate(*statement.value, frame), budget_);
    if (!statement.condition) return items;
    List kept;
    for (const Value& one : items) {
      Frame inside{&frame, {}};
      unpack(statement.names, one, inside);
      if (evaluate(*statement.condition, inside).truth()) kept.push_back(one);
    }
    return kept;
  }

  static Members loop_members(const List& items, size_t i) {
    const auto at = static_cast<int64_t>(i), count = static_cast<int64_t>(items.size());
    return {{"index", at + 1},
            {"index0", at},
            {"revindex", count - at},
            {"revindex0", count - at - 1},
            {"first", i == 0},
            {"last", i + 1 == items.size()},
            {"length", count},
            {"previtem", i > 0 ? items[i - 1] : Value(Undefined{"previtem"})},
            {"nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"nextitem"})},
            {"cycle", Function{"cycle"}}};
  }

  void loop(const Statement& statement, Frame& frame) {
    const List items = loop_items(statement, frame);
    for (size_t i = 0; i < items.size(); ++i) {
      budget_.step();
      Frame inside{&frame, {{"loop", loop_members(items, i)}}};
      unpack(statement.names, items[i], inside);
      if (run(statement.body, inside) == Flow::kBreak) break;
    }
    if (items.empty()) {
      Frame inside{&frame, {}};
      run(statement.otherwise, inside);
    }
  }

  // --- expressions
  Value evaluate(const Expression& e, const Frame& frame) {
    budget_.step();
    budget_.line = e.line;
    const auto part = [&](size_t i) { return i < e.parts.size() && e.parts[i] ? evaluate(*e.parts[i], frame) : Value(); };
    switch (e.kind) {
      case Expression::kConstant: return e.constant;
      case Expression::kName: {
        const Value* found = frame.find(e.name);
        return found ? *found : Undefined{e.name};
      }
      case Expression::kList: return list(e, frame);
      case Expression::kDict: return dictionary(e, frame);
      case Expression::kAnd: {
        Value left = part(0);
        return left.truth() ? part(1) : left;
      }
      case Expression::kOr: {
        Value left = part(0);
        return left.truth() ? left : part(1);
      }
      case Expression::kNot: return !part(0).truth();
      case Expression::kNegate: return negated(part(0), budget_);
      case Expression::kPlus: return part(0);
      case Expression::kBinary: {
        const Value left = part(0), right = part(1);
        return binary(e.name, left, right, budget_);
      }
      case Expression::kCompare: return comparison(e, frame);
      case Expression::kConditional: return part(0).truth() ? part(1) : part(2);
      case Expression::kAttribute: return attribute(part(0), e.name, budget_);
      case Expression::kIndex: {
        const Value object = part(0);
        return item(object, part(1), budget_);
      }
      case Expression::kSlice: {
        const Value object = part(0), begin = part(1), end = part(2);
        return slice(object, begin, end, part(3), budget_);
      }
      case Expression::kCall: return call(e, frame);
      case Expression::kFilter: {
        const Value value = part(0);
        return apply_filter(e.name, value, arguments(e, frame), budget_);
      }
      case Expression::kTest: {
        const Value value = part(0);
        return apply_test(e.name, value, arguments(e, frame), budget_);
      }
    }
    return {};
  }

  Value list(const Expression& e, const Frame& frame) {
    List items;
    for (const ExpressionPtr& part : e.parts) items.push_back(evaluate(*part, frame));
    return inspected(std::move(items));
  }

  Value dictionary(const Expression& e, const Frame& frame) {
    Members members;
    for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
      const std::string key = text_of(evaluate(*e.parts[i], frame), budget_);
      Value value = evaluate(*e.parts[i + 1], frame);
      const auto at = std::find_if(members.begin(), members.end(), [&](const auto& member) { return member.first == key; });
      if (at != members.end()) at->second = std::move(value);
      else members.emplace_back(key, std::move(value));
    }
    return inspected(std::move(members));
  }

  Value comparison(const Expression& e, const Frame& frame) {
    Value left = evaluate(*e.parts[0], frame);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = evaluate(*e.parts[i + 1], frame);
      if (!compare(e.operators[i], left, right, budget_)) return false;
      left = std::move(right);
    }
    return true;
  }

  CallArguments arguments(const Expression& e, const Frame& frame) {
    CallArguments made;
    for (const ExpressionPtr& one : e.arguments.positional) made.positional.push_back(evaluate(*one, frame));
    for (const auto& [name, one] : e.arguments.named) made.named.emplace_back(name, evaluate(*one, frame));
    return made;
  }

  Value call(const Expression& e, const Frame& frame) {
    const Expression& callee = *e.parts.front();
    Value object;
    if (callee.kind == Expression::kAttribute) {
      object = evaluate(*callee.parts.front(), frame);
      if (has_method(object, callee.name)) return call_method(object, callee.name, arguments(e, frame), budget_);
    }
    const Value function = callee.kind == Expression::kAttribute ? attribute(object, callee.name, budget_) : evaluate(callee, frame);
    if (!function.is<Function>()) {
      const std::string name = callee.name.empty() ? "the value" : "'" + callee.name + "'";
      budget_.fail(function.is_undefined() ? name + " is undefined" : name + " cannot be called");
    }
    const CallArguments given = arguments(e, frame);
    const auto& [name, macro] = function.get<Function>();
    if (macro) return call_macro(*macro, given);
    if (name == "cycle" && object.is_dict() && !given.positional.empty())
      return given.positional[static_cast<size_t>(object.find("index0")->integer()) % given.positional.size()];
    return call_global(name, given);
  }

  Value call_macro(const Statement& macro, const CallArguments& given) {
    if (++calls_ > kMostCalls) budget_.fail("macros that call each other too deeply");
    if (given.positional.size() > macro.names.size()) budget_.fail("macro '" + macro.text + "': too many arguments");
    Frame inside{&top_, {}};
    for (size_t i = 0; i < macro.names.size(); ++i) {
      const Value* value = given.find(i, macro.names[i]);
      inside.set(macro.names[i], value ? *value : macro.defaults[i] ? evaluate(*macro.defaults[i], inside) : Value(Undefined{macro.names[i]}));
    }
    std::string outer = std::exchange(out_, "");
    run(macro.body, inside);
    --calls_;
    return std::exchange(out_, std::move(outer));
  }

  Value call_global(const std::string& name, const CallArguments& given) {
    if (name == "raise_exception") budget_.fail(written(given.at(0, "message", budget_), budget_));
    if (name == "namespace") {
      auto made = std::make_shared<Namespace>();
      if (!given.positional.empty() && given.positional[0].is_dict()) made->members = given.positional[0].members();
      for (const auto& member : given.named) made->members.push_back(member);
      for (const auto& member : made->members) check_namespace_member(member.second);
      return made;
    }
    if (name == "dict") return inspected(given.named);
    if (name == "strftime_now") return formatted_time(text_of(given.at(0, "format", budget_), budget_));
    if (name == "range") return range(given);
    budget_.fail("'" + name + "' cannot be called");
  }

  Value range(const CallArguments& given) {
    const bool one = given.positional.size() == 1;
    const int64_t begin = one ? 0 : given.integer(0, "start", 0, budget_), end = given.integer(one ? 0 : 1, "stop", 0, budget_);
    const int64_t by = given.integer(2, "step", 1, budget_);
    if (by == 0) budget_.fail("range with step 0");
    List items;
    for (int64_t i = begin; by > 0 ? i < end : i > end;) {
      if (items.size() == kMostRange) budget_.fail("range: more than " + std::to_string(kMostRange) + " numbers");
      items.emplace_back(i);
      if (__builtin_add_overflow(i, by, &i)) break;
    }
    budget_.step(items.size());
    return items;
  }

  Value formatted_time(const std::string& format) {
    std::tm parts{};
    ::localtime_r(&now_, &parts);
    char text[256];
    return std::string(text, std::strftime(text, sizeof text, format.c_str(), &parts));
  }

  Frame globals_{nullptr, {}}, top_{nullptr, {}};
  std::time_t now_;
  Budget& budget_;
  std::string out_;
  int calls_ = 0;
};

}  // namespace

std::string render(const Body& body, const Members& variables, std::time_t now, Budget& budget) {
  return Renderer(variables, now, budget).run(body);
}

}  // namespace espalier::jinja
