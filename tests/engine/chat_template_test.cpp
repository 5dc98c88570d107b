#include "espalier/engine/chat_template.h"

#include "espalier/core/file.h"
#include "tests/support.h"

namespace espalier {
namespace {

const Json kTokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};

ChatInput input_of(const Json& given) {
  ChatInput input;
  input.messages = given.at("messages");
  input.add_generation_prompt = given.at("add_generation_prompt").get<bool>();
  input.variables = given.at("variables");
  input.now = given.at("now").get<std::time_t>();
  return input;
}

// tests/judge/make_chat_templates.py wrote what jinja2 made of the same templates.
TEST(ChatTemplate, RendersAsJinja2Does) {
  const Json cases = read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/engine/data/chat_templates.json");
  ASSERT_GT(cases.size(), 100u);
  for (const Json& one : cases) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    const auto source = one.at("template").get<std::string>();
    if (one.contains("error")) {
      EXPECT_THROW(ChatTemplate(source, "t", kTokens).render(input_of(one)), UserError) << one.at("error");
      continue;
    }
    try {
      EXPECT_EQ(ChatTemplate(source, "t", kTokens).render(input_of(one)), one.at("expected").get<std::string>());
    } catch (const UserError& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

std::string rendered(const std::string& source) {
  ChatInput input;
  input.messages = {{{"role", "user"}, {"content", "hi"}}};
  return ChatTemplate(source, "the template", kTokens).render(input);
}

TEST(ChatTemplate, ErrorsNameTemplateAndLine) {
  ESP_EXPECT_USER_ERROR(rendered("a\n\n{{ 'x' + 1 }}"), "the template: line 3");
  ESP_EXPECT_USER_ERROR(rendered("a\n{% if %}"), "line 2");
  ESP_EXPECT_USER_ERROR(rendered("{{ raise_exception('Take turns!') }}"), "Take turns!");
  ESP_EXPECT_USER_ERROR(rendered("{{ 'a' | uper }}"), "did you mean 'upper'");
  ESP_EXPECT_USER_ERROR(rendered("{% include 'x' %}"), "unknown block 'include'");
}

TEST(ChatTemplate, HostileTemplatesEndWithAMessage) {
  const std::string doubling = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
  ESP_EXPECT_USER_ERROR(rendered(doubling), "bytes of text");
  ESP_EXPECT_USER_ERROR(rendered("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"), "steps");
  ESP_EXPECT_USER_ERROR(rendered("{{ range(1000000000) | list }}"), "numbers");
  ESP_EXPECT_USER_ERROR(rendered("{{ 'a' * 99999999999 }}"), "bytes of text");
  ESP_EXPECT_USER_ERROR(rendered("{{ [1] * 99999999999 }}"), "steps");
  ESP_EXPECT_USER_ERROR(rendered("{{ 9223372036854775807 + 1 }}"), "too large");
  ESP_EXPECT_USER_ERROR(rendered("{{ 99999999999999999999 }}"), "too large");
  EXPECT_EQ(rendered("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
  ESP_EXPECT_USER_ERROR(rendered("{{ (-9223372036854775807 - 1) // -1 }}"), "too large");
  ESP_EXPECT_USER_ERROR(rendered("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "too deeply");
  ESP_EXPECT_USER_ERROR(rendered("{% set n = namespace() %}{% set n.n = n %}"), "namespace within");
  ESP_EXPECT_USER_ERROR(rendered("{% set n = namespace() %}{% set n.n = [{'a': n}] %}"), "namespace within");
  const std::string big = "{% set ns = namespace(x=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  ESP_EXPECT_USER_ERROR(rendered(big + "{{ ns.x }}"), "");
  ESP_EXPECT_USER_ERROR(rendered(big + "{{ ns.x | tojson }}"), "");
  ESP_EXPECT_USER_ERROR(rendered(big + "{{ ns.x == ns.x }}"), "");
  std::string doubled = "{% set x = ['aaaa'] %}", nested = "{% set x = 1 %}";
  for (int i = 0; i < 60; ++i) doubled += "{% set x = x + x %}{% set x = [x, x] %}";
  ESP_EXPECT_USER_ERROR(rendered(doubled + "{{ x }}"), "steps");
  for (int i = 0; i < 50000; ++i) nested += "{% set x = [x] %}";
  ESP_EXPECT_USER_ERROR(rendered(nested + "{{ x }}"), "nested too deeply");
  const std::string wide = "{% set x = ['a' * 1000000] * 2000000 %}";
  ESP_EXPECT_USER_ERROR(rendered(wide + "{{ x }}"), "bytes of text");
  ESP_EXPECT_USER_ERROR(rendered(wide + "{{ x | tojson }}"), "bytes of text");
  ESP_EXPECT_USER_ERROR(rendered(wide + "{{ x | join }}"), "bytes of text");
  for (const char* open : {"(", "[", "-", "not ", "{'a':", "x if y else ", "a["}) {
    std::string source = "{{ ";
    for (int i = 0; i < 50000; ++i) source += open;
    source += "1";
    for (int i = 0; i < 50000; ++i) source += *open == '(' ? ")" : *open == '{' ? "}" : open[std::string(open).size() - 1] == '[' ? "]" : "";
    ESP_EXPECT_USER_ERROR(rendered(source + " }}"), "too deeply");
  }
  for (const char* link : {"+1", ".a", "|trim", " and 1", "[0]", "~1", " is defined"}) {
    std::string source = "{{ x";
    for (int i = 0; i < 50000; ++i) source += link;
    ESP_EXPECT_USER_ERROR(rendered(source + " }}"), "too deeply");
  }
  std::string blocks;
  for (int i = 0; i < 30000; ++i) blocks += "{% if 1 %}";
  ESP_EXPECT_USER_ERROR(rendered(blocks), "too deeply");
  ESP_EXPECT_USER_ERROR(rendered(std::string(2u << 20, 'a')), "bytes");
  ESP_EXPECT_USER_ERROR(rendered("a\xff"), "UTF-8");
}

// Every prefix and every change of one byte of real templates: a result or a UserError, nothing else.
TEST(ChatTemplate, DamagedTemplates) {
  const Json cases = read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/engine/data/chat_templates.json");
  for (const Json& one : cases) {
    const auto source = one.at("template").get<std::string>();
    for (size_t i = 0; i < source.size(); i += 1 + source.size() / 60) {
      for (const std::string& damaged : {source.substr(0, i), source.substr(0, i) + "%}" + source.substr(i), source.substr(0, i) + source.substr(i + 1)}) {
        try {
          ChatTemplate(damaged, "t", kTokens).render(input_of(one));
        } catch (const UserError&) {
        }
      }
    }
  }
}

void write(const std::filesystem::path& path, const std::string& text) { write_file_atomically(path, text); }

TEST(ChatTemplate, ComesFromTheCheckpointsFiles) {
  const test::TempDir dir;
  ChatInput input;
  input.messages = {{{"role", "user"}, {"content", "hi"}}};
  EXPECT_FALSE(ChatTemplate::load(dir.path()));
  write(dir / "tokenizer_config.json", R"({"bos_token": {"content": "<b>"}, "eos_token": null})");
  EXPECT_FALSE(ChatTemplate::load(dir.path()));
  write(dir / "tokenizer_config.json", R"({"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}{{ messages[0].content }}"})");
  EXPECT_EQ(ChatTemplate::load(dir.path())->render(input), "<b>hi");
  write(dir / "tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "{{ bos_token }}d"}]})");
  write(dir / "special_tokens_map.json", R"({"bos_token": "<m>"})");
  EXPECT_EQ(ChatTemplate::load(dir.path())->render(input), "<m>d");
  write(dir / "chat_template.jinja", "own {{ bos_token }}\n");
  EXPECT_EQ(ChatTemplate::load(dir.path())->render(input), "own <m>");
  std::filesystem::remove(dir / "chat_template.jinja");
  write(dir / "tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  ESP_EXPECT_USER_ERROR(ChatTemplate::load(dir.path()), "default");
  write(dir / "tokenizer_config.json", R"({"chat_template": 3})");
  ESP_EXPECT_USER_ERROR(ChatTemplate::load(dir.path()), "chat_template");
}

}  // namespace
}  // namespace espalier
