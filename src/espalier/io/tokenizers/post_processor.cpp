#include "espalier/io/tokenizers/post_processor.h"

#include "espalier/core/error.h"
#include "espalier/io/tokenizers/component.h"

namespace espalier::tok {
namespace {

constexpr size_t kMaxSpecialTokens = 1024;

class Maker {
 public:
  explicit Maker(const std::function<bool(int32_t)>& has_id) : has_id_(has_id) {}

  PostProcessor make(const Json& spec, const std::string& where) const {
    if (spec.is_null()) return {};
    if (!spec.is_object()) throw UserError(where, "value", "an object with a type", describe(spec));
    const std::string type = json_string(spec, "type", where), here = fmt::format("{} ({})", where, type);
    if (type == "ByteLevel") return {};  // changes only offsets
    if (type == "BertProcessing" || type == "RobertaProcessing")
      return {{pair_id(spec, "cls", here)}, {pair_id(spec, "sep", here)}};
    if (type == "TemplateProcessing") return make_template(spec, here);
    if (type == "Sequence") return sequence(spec, here);
    const std::vector<std::string> known = {"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence",
                                            "TemplateProcessing"};
    throw UserError(where, "type", fmt::format("one of {}", fmt::join(known, ", ")),
                    fmt::format("'{}'{}", printable(type), did_you_mean(type, known)));
  }

 private:
  int32_t checked(const Json& id, const std::string& where) const {
    const bool fits = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < INT32_MAX;
    if (!fits || !has_id_(id.get<int32_t>())) throw UserError(where, "id", "the id of a token", describe(id));
    return id.get<int32_t>();
  }

  // ["[SEP]", 102]
  int32_t pair_id(const Json& spec, const std::string& key, const std::string& where) const {
    const auto pair = spec.find(key);
    if (pair == spec.end() || !pair->is_array() || pair->size() != 2)
      throw UserError(where, key, "[token, id]", pair == spec.end() ? "nothing" : describe(*pair));
    return checked((*pair)[1], where + "." + key);
  }

  PostProcessor sequence(const Json& spec, const std::string& where) const {
    const Json& list = required_array(spec, "processors", where);
    PostProcessor whole;
    for (size_t i = 0; i < list.size(); ++i) {
      const PostProcessor part = make(list[i], fmt::format("{}.processors[{}]", where, i));
      whole.prefix.insert(whole.prefix.begin(), part.prefix.begin(), part.prefix.end());
      whole.suffix.insert(whole.suffix.end(), part.suffix.begin(), part.suffix.end());
      if (whole.prefix.size() + whole.suffix.size() > kMaxSpecialTokens)
        user_error("{}: more than {} special tokens for one text", where, kMaxSpecialTokens);
    }
    return whole;
  }

  PostProcessor make_template(const Json& spec, const std::string& where) const {
    const Json& single = required_array(spec, "single", where);
    PostProcessor whole;
    int sequences = 0;
    for (size_t i = 0; i < single.size(); ++i) {
      const std::string here = fmt::format("{}.single[{}]", where, i);
      const Json& item = single[i];
      if (item.is_object() && item.contains("Sequence")) {
        if (item["Sequence"].is_object() && json_string_or(item["Sequence"], "id", here, "A") != "A")
          throw UserError(here, "Sequence", "A, as there is one text", describe(item));
        ++sequences;
      } else {
        append_special(item, spec, sequences == 0 ? whole.prefix : whole.suffix, here);
      }
    }
    if (sequences != 1) throw UserError(where, "single", "the sequence A once", fmt::format("{} times", sequences));
    if (whole.prefix.size() + whole.suffix.size() > kMaxSpecialTokens)
      user_error("{}: more than {} special tokens for one text", where, kMaxSpecialTokens);
    return whole;
  }

  // {"SpecialToken": {"id": NAME}}, where special_tokens[NAME].ids has the ids.
  void append_special(const Json& item, const Json& spec, std::vector<int32_t>& ids, const std::string& where) const {
    if (!item.is_object() || !item.contains("SpecialToken") || !item["SpecialToken"].is_object())
      throw UserError(where, "value", "a Sequence or a SpecialToken", describe(item));
    const std::string name = json_string(item["SpecialToken"], "id", where);
    const auto table = spec.find("special_tokens");
    if (table == spec.end() || !table->is_object() || !table->contains(name) || !(*table)[name].is_object())
      user_error("{}: the special token '{}' is missing from special_tokens", where, printable(name));
    const Json& known = (*table)[name];
    if (!known.contains("ids") || !known["ids"].is_array())
      throw UserError(where, "special_tokens." + printable(name) + ".ids", "an array of ids", describe(known));
    for (const Json& id : known["ids"]) ids.push_back(checked(id, where + ".special_tokens." + printable(name)));
  }

  const std::function<bool(int32_t)>& has_id_;
};

}  // namespace

PostProcessor make_post_processor(const Json& spec, const std::function<bool(int32_t)>& has_id,
                                  const std::string& where) {
  return Maker(has_id).make(spec, where);
}

}  // namespace espalier::tok
