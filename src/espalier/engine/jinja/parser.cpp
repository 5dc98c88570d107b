#include "espalier/engine/jinja/parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <iterator>

#include "espalier/engine/jinja/lexer.h"

namespace espalier::jinja {
namespace {

constexpr int kMostNesting = 100;

class Parser {
 public:
  Parser(std::vector<Token> tokens, Budget& budget) : tokens_(std::move(tokens)), budget_(budget) {}

  Body run() {
    Body body = statements({});
    if (token().kind != Token::kEnd) fail("unexpected '" + token().text + "'");
    return body;
  }

 private:
  // --- tokens
  const Token& token(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  [[noreturn]] void fail(const std::string& what) {
    budget_.line = token().line;
    budget_.fail(what);
  }
  bool is(std::string_view op) const { return token().kind == Token::kOperator && token().text == op; }
  bool is_word(std::string_view word, size_t ahead = 0) const {
    return token(ahead).kind == Token::kName && token(ahead).text == word;
  }
  bool accept(std::string_view op) { return is(op) && ++at_; }
  bool accept_word(std::string_view word) { return is_word(word) && ++at_; }
  void expect(std::string_view op) {
    if (!accept(op)) fail("expected '" + std::string(op) + "', found '" + token().text + "'");
  }
  std::string name() {
    if (token().kind != Token::kName) fail("expected a name, found '" + token().text + "'");
    return tokens_[at_++].text;
  }
  void block_end() {
    if (token().kind != Token::kBlockEnd) fail("expected the end of the block, found '" + token().text + "'");
    ++at_;
  }

  struct Nest {
    explicit Nest(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMostNesting) parser_.fail("nested too deeply");
    }
    ~Nest() { --parser_.nesting_; }
    Parser& parser_;
  };

  // --- statements
  // Up to a block that begins with one of `ends`, whose name stays to be read; or to the end.
  Body statements(std::initializer_list<std::string_view> ends) {
    const Nest nest(*this);
    Body body;
    for (;;) {
      if (token().kind == Token::kEnd) {
        if (ends.size()) fail("a block without its '" + std::string(*(ends.end() - 1)) + "'");
        return body;
      }
      if (token().kind == Token::kText) {
        body.push_back(make(Statement::kText));
        body.back().text = std::move(tokens_[at_++].text);
      } else if (token().kind == Token::kPrintBegin) {
        print(body);
      } else {
        ++at_;  // a block's begin
        if (std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return is_word(end); })) return body;
        block(body);
      }
    }
  }

  Statement make(Statement::Kind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = token().line;
    return statement;
  }

  void print(Body& body) {
    body.push_back(make(Statement::kPrint));
    ++at_;
    body.back().value = expression_or_tuple();
    if (token().kind != Token::kPrintEnd) fail("expected '}}', found '" + token().text + "'");
    ++at_;
  }

  void end(std::string_view word) {
    if (!accept_word(word)) fail("expected '" + std::string(word) + "'");
    block_end();
  }

  void block(Body& body) {
    const std::string word = name();
    if (word == "if") return body.push_back(if_block());
    if (word == "for") return body.push_back(for_block());
    if (word == "set") return body.push_back(set_block());
    if (word == "macro") return body.push_back(macro());
    if (word == "filter") return body.push_back(filter_block());
    if (word == "break" || word == "continue") {
      if (loops_ == 0) fail("'" + word + "' outside of a loop");
      body.push_back(make(word == "break" ? Statement::kBreak : Statement::kContinue));
      return block_end();
    }
    if (word == "generation") {  // marks what training looks at; no meaning here
      block_end();
      Body inside = statements({"endgeneration"});
      end("endgeneration");
      return (void)std::move(inside.begin(), inside.end(), std::back_inserter(body));
    }
    --at_;
    fail("unknown block '" + word + "'");
  }

  Statement if_block() {
    const Nest nest(*this);
    Statement statement = make(Statement::kIf);
    statement.value = expression();
    block_end();
    statement.body = statements({"elif", "else", "endif"});
    if (accept_word("elif")) {
      statement.otherwise.push_back(if_block());
      return statement;  // the endif has been read there
    }
    if (accept_word("else")) {
      block_end();
      statement.otherwise = statements({"endif"});
    }
    end("endif");
    return statement;
  }

  Statement for_block() {
    Statement statement = make(Statement::kFor);
    statement.names = targets();
    if (!accept_word("in")) fail("expected 'in'");
    statement.value = expression_or_tuple(/*conditional=*/false);
    if (accept_word("if")) statement.condition = expression();
    if (is_word("recursive")) fail("recursive loops are not supported");
    block_end();
    ++loops_;
    statement.body = statements({"else", "endfor"});
    --loops_;
    if (accept_word("else")) {
      block_end();
      statement.otherwise = statements({"endfor"});
    }
    end("endfor");
    return statement;
  }

  std::vector<std::string> targets() {
    const bool bracket = accept("(");
    std::vector<std::string> names = {name()};
    while (accept(",")) names.push_back(name());
    if (bracket) expect(")");
    return names;
  }

  Statement set_block() {
    Statement statement = make(Statement::kSet);
    statement.names = targets();
    if (accept(".")) statement.text = name();
    if (accept("=")) {
      statement.value = expression_or_tuple();
      block_end();
      return statement;
    }
    if (statement.names.size() != 1 || !statement.text.empty()) fail("expected '='");
    statement.kind = Statement::kSetBlock;
    statement.value = filter_chain(nullptr);
    block_end();
    statement.body = statements({"endset"});
    end("endset");
    return statement;
  }

  Statement filter_block() {
    Statement statement = make(Statement::kFilterBlock);
    statement.value = filter_chain(filter(nullptr));
    block_end();
    statement.body = statements({"endfilter"});
    end("endfilter");
    return statement;
  }

  Statement macro() {
    Statement statement = make(Statement::kMacro);
    statement.text = name();
    expect("(");
    while (!accept(")")) {
      statement.names.push_back(name());
      statement.defaults.push_back(accept("=") ? expression() : nullptr);
      if (!is(")")) expect(",");
    }
    block_end();
    const int loops = std::exchange(loops_, 0);
    statement.body = statements({"endmacro"});
    loops_ = loops;
    end("endmacro");
    return statement;
  }

  // --- expressions, from the weakest binding to the strongest
  ExpressionPtr make(Expression::Kind kind, std::string text = "") const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = token().line;
    made->name = std::move(text);
    return made;
  }
  template <typename... Parts>
  ExpressionPtr node(Expression::Kind kind, std::string text, Parts... parts) const {
    ExpressionPtr made = make(kind, std::move(text));
    (made->parts.push_back(std::move(parts)), ...);
    return made;
  }

  ExpressionPtr expression_or_tuple(bool conditional = true) {
    ExpressionPtr first = conditional ? expression() : disjunction();
    if (!is(",")) return first;
    ExpressionPtr tuple = node(Expression::kList, "", std::move(first));
    while (accept(",")) {
      if (token().kind == Token::kBlockEnd || token().kind == Token::kPrintEnd || is(")")) break;
      tuple->parts.push_back(conditional ? expression() : disjunction());
    }
    return tuple;
  }

  ExpressionPtr expression() {
    const Nest nest(*this);
    ExpressionPtr value = disjunction();
    while (accept_word("if")) {
      ExpressionPtr condition = disjunction();
      ExpressionPtr otherwise = accept_word("else") ? expression() : nullptr;
      value = node(Expression::kConditional, "", std::move(condition), std::move(value), std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr disjunction() {
    ExpressionPtr left = conjunction();
    while (accept_word("or")) left = node(Expression::kOr, "", std::move(left), conjunction());
    return deep(std::move(left));
  }

  ExpressionPtr conjunction() {
    ExpressionPtr left = negation();
    while (accept_word("and")) left = node(Expression::kAnd, "", std::move(left), negation());
    return deep(std::move(left));
  }

  ExpressionPtr negation() {
    const Nest nest(*this);
    return accept_word("not") ? node(Expression::kNot, "", negation()) : comparison();
  }

  std::string comparison_operator() {
    for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">"})
      if (accept(op)) return std::string(op);
    if (accept_word("in")) return "in";
    if (is_word("not") && is_word("in", 1)) {
      at_ += 2;
      return "not in";
    }
    return "";
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = binary(0);
    std::string op = comparison_operator();
    if (op.empty()) return left;
    ExpressionPtr chain = node(Expression::kCompare, "", std::move(left));
    for (; !op.empty(); op = comparison_operator()) {
      chain->operators.push_back(op);
      chain->parts.push_back(binary(0));
    }
    return chain;
  }

  ExpressionPtr binary(size_t level) {
    static const std::vector<std::vector<std::string>> kLevels = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
    if (level == kLevels.size()) return unary(true);
    ExpressionPtr left = binary(level + 1);
    for (;;) {
      const auto& ops = kLevels[level];
      const auto op = std::find_if(ops.begin(), ops.end(), [&](const std::string& candidate) { return is(candidate); });
      if (op == ops.end()) return left;
      ++at_;
      left = deep(node(Expression::kBinary, *op, std::move(left), binary(level + 1)));
    }
  }

  // A long chain is a deep tree, and evaluating it recurses.
  ExpressionPtr deep(ExpressionPtr left) {
    int depth = 0;
    for (const Expression* at = left.get(); at && !at->parts.empty(); at = at->parts.front().get())
      if (++depth > 4 * kMostNesting) fail("an expression nested too deeply");
    return left;
  }

  ExpressionPtr unary(bool with_filters) {
    const Nest nest(*this);
    ExpressionPtr value;
    if (accept("-")) value = node(Expression::kNegate, "", unary(false));
    else if (accept("+")) value = node(Expression::kPlus, "", unary(false));
    else value = primary();
    value = postfix(std::move(value));
    return with_filters ? deep(filters_and_tests(std::move(value))) : std::move(value);
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      if (accept(".")) value = attribute(std::move(value));
      else if (accept("[")) value = index(std::move(value));
      else if (is("(")) value = call(std::move(value));
      else return value;
      value = deep(std::move(value));
    }
  }

  ExpressionPtr attribute(ExpressionPtr object) {
    if (token().kind != Token::kInteger) return node(Expression::kAttribute, name(), std::move(object));
    return node(Expression::kIndex, "", std::move(object), primary());
  }

  ExpressionPtr index(ExpressionPtr object) {
    ExpressionPtr parts[3];
    int at = 0, colons = 0;
    while (!accept("]")) {
      if (accept(":")) {
        if (++at > 2) fail("a slice has at most three parts");
        ++colons;
      } else {
        if (parts[at]) fail("expected ']'");
        parts[at] = colons ? expression() : expression_or_tuple();
      }
    }
    if (colons)
      return node(Expression::kSlice, "", std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
    if (!parts[0]) fail("expected an index");
    return node(Expression::kIndex, "", std::move(object), std::move(parts[0]));
  }

  ExpressionPtr call(ExpressionPtr callee) {
    ExpressionPtr made = node(Expression::kCall, "", std::move(callee));
    made->arguments = arguments();
    return made;
  }

  Arguments arguments() {
    Arguments made;
    expect("(");
    while (!accept(")")) {
      if (token().kind == Token::kName && token(1).kind == Token::kOperator && token(1).text == "=") {
        std::string key = name();
        ++at_;
        made.named.emplace_back(std::move(key), expression());
      } else {
        if (!made.named.empty()) fail("a positional argument behind a named one");
        made.positional.push_back(expression());
      }
      if (!is(")")) expect(",");
    }
    return made;
  }

  ExpressionPtr filters_and_tests(ExpressionPtr value) {
    for (;;) {
      if (is("|")) value = filter_chain(std::move(value));
      else if (is_word("is")) value = test(std::move(value));
      else if (is("(")) value = call(std::move(value));
      else return value;
    }
  }

  // value may be null: what a block holds.
  ExpressionPtr filter_chain(ExpressionPtr value) {
    while (accept("|")) value = filter(std::move(value));
    return value;
  }

  ExpressionPtr filter(ExpressionPtr value) {
    ExpressionPtr made = node(Expression::kFilter, name(), std::move(value));
    if (is("(")) made->arguments = arguments();
    return deep(std::move(made));
  }

  bool begins_test_argument() const {
    switch (token().kind) {
      case Token::kString: case Token::kInteger: case Token::kFloat: return true;
      case Token::kName:
        return !is_word("else") && !is_word("or") && !is_word("and") && !is_word("is") && !is_word("if") && !is_word("in") && !is_word("not");
      default: return is("[") || is("{");
    }
  }

  ExpressionPtr test(ExpressionPtr value) {
    ++at_;
    const bool negated = accept_word("not");
    ExpressionPtr made = node(Expression::kTest, name(), std::move(value));
    if (is("(")) made->arguments = arguments();
    else if (begins_test_argument()) made->arguments.positional.push_back(postfix(primary()));
    return negated ? node(Expression::kNot, "", std::move(made)) : std::move(made);
  }

  ExpressionPtr constant(Value value) {
    ExpressionPtr made = make(Expression::kConstant);
    made->constant = std::move(value);
    ++at_;
    return made;
  }

  template <typename Number>
  ExpressionPtr number() {
    Number value{};
    const std::string& text = token().text;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) fail("a number that is too large: " + text);
    return constant(value);
  }

  ExpressionPtr primary() {
    switch (token().kind) {
      case Token::kInteger: return number<int64_t>();
      case Token::kFloat: return number<double>();
      case Token::kString: {
        std::string text = token().text;
        while (token(1).kind == Token::kString) text += tokens_[++at_].text;
        return constant(std::move(text));
      }
      case Token::kName: return named();
      default: break;
    }
    if (accept("(")) {
      if (accept(")")) return make(Expression::kList);
      ExpressionPtr value = expression_or_tuple();
      expect(")");
      return value;
    }
    if (accept("[")) return list();
    if (accept("{")) return dictionary();
    fail("expected a value, found '" + token().text + "'");
  }

  ExpressionPtr named() {
    const std::string& text = token().text;
    if (text == "true" || text == "True") return constant(true);
    if (text == "false" || text == "False") return constant(false);
    if (text == "none" || text == "None") return constant(None{});
    return make(Expression::kName, name());
  }

  ExpressionPtr list() {
    ExpressionPtr made = make(Expression::kList);
    while (!accept("]")) {
      made->parts.push_back(expression());
      if (!is("]")) expect(",");
    }
    return made;
  }

  ExpressionPtr dictionary() {
    ExpressionPtr made = make(Expression::kDict);
    while (!accept("}")) {
      made->parts.push_back(expression());
      expect(":");
      made->parts.push_back(expression());
      if (!is("}")) expect(",");
    }
    return made;
  }

  std::vector<Token> tokens_;
  Budget& budget_;
  size_t at_ = 0;
  int nesting_ = 0, loops_ = 0;
};

}  // namespace

Body parse(std::string_view source, Budget& budget) { return Parser(tokenize(source, budget), budget).run(); }

}  // namespace espalier::jinja
