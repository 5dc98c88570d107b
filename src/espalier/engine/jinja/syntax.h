// Chat templates as trees, and what parsing and running them may cost.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "espalier/engine/jinja/value.h"

namespace espalier::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Expression {
  enum Kind {
    kConstant, kName, kList, kDict,  // a dict's keys and values alternate in `parts`
    kAnd, kOr, kNot, kNegate, kPlus,
    kBinary,   // `name` is the operator
    kCompare,  // parts[0] operators[0] parts[1] operators[1] …
    kConditional,  // condition, then, else (may be missing)
    kAttribute, kIndex, kSlice,  // slice: the object, begin, end, step, each of the three may be null
    kCall,     // parts[0] is called
    kFilter, kTest,  // `name` of parts[0]
  };
  Kind kind = kConstant;
  int line = 0;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<std::string> operators;
  Arguments arguments;
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum Kind { kText, kPrint, kIf, kFor, kSet, kSetBlock, kMacro, kFilterBlock, kBreak, kContinue };
  Kind kind = kText;
  int line = 0;
  std::string text;                // kText; the macro's name; kSet of a namespace: the attribute
  std::vector<std::string> names;  // loop variables, set targets, parameters
  ExpressionPtr value;             // printed, condition, sequence, assigned; kSetBlock, kFilterBlock: chain of filters or null
  ExpressionPtr condition;         // of a filtered loop
  std::vector<ExpressionPtr> defaults;  // of parameters; null: none
  Body body, otherwise;
};

// Everything that a template makes the interpreter do is paid from here, so that a hostile one ends with a message.
class Budget {
 public:
  explicit Budget(std::string where) : where_(std::move(where)) {}
  int line = 1;

  void step(uint64_t count = 1);
  void text(uint64_t bytes);  // a text of this size was made
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string where_;
  uint64_t steps_ = 0, bytes_ = 0;
};

}  // namespace espalier::jinja
