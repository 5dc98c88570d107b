#include "espalier/cli/options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

template <typename T>
std::optional<T> parsed(const std::string& text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

// CLI11 puts "--name: " before the text that a check returns; "" means fine.
CLI::Option* check(CLI::Option* option, const std::string& expected, std::function<bool(const std::string&)> accepts) {
  return option->check([=](const std::string& text) {
    return accepts(text) ? std::string() : fmt::format("expected {}, found '{}'", expected, printable(text));
  });
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
    for (const auto& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

[[noreturn]] void unexpected(const CLI::App& app, const std::string& argument) {
  if (!argument.starts_with("-"))
    user_error("unexpected argument '{}'; `{} --help` shows what it takes", printable(argument), app.get_name());
  const std::string name = argument.substr(0, argument.find('='));
  user_error("{}: unknown option{}; `{} --help` lists them", printable(name), did_you_mean(name, option_names(app)),
             app.get_name());
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

CLI::Option* add_text(CLI::App& app, const std::string& name, std::string& target, const std::string& type,
                      const std::string& help) {
  return app.add_option(name, target, help)->type_name(type);
}

CLI::Option* add_texts(CLI::App& app, const std::string& name, std::vector<std::string>& target,
                       const std::string& type, const std::string& help) {
  return app.add_option(name, target, help)->type_name(type)->expected(1, 1 << 20)->allow_extra_args(false);
}

CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& target,
                        const std::vector<std::string>& words, const std::string& help) {
  auto* option =
      app.add_option(name, target, help)->capture_default_str()->type_name(fmt::format("{}", fmt::join(words, "|")));
  return option->check([words](const std::string& text) {
    if (std::find(words.begin(), words.end(), text) != words.end()) return std::string();
    return fmt::format("expected one of {}, found '{}'{}", fmt::join(words, ", "), printable(text),
                       did_you_mean(text, words));
  });
}

CLI::Option* add_integer(CLI::App& app, const std::string& name, int64_t& target, int64_t low, int64_t high,
                         const std::string& help) {
  const auto expected = high == INT64_MAX ? fmt::format("an integer of at least {}", low)
                                          : fmt::format("an integer from {} to {}", low, high);
  return check(app.add_option(name, target, help)->capture_default_str()->type_name("N"), expected,
               [=](const std::string& text) {
                 const auto number = parsed<int64_t>(text);
                 return number && *number >= low && *number <= high;
               });
}

CLI::Option* add_number(CLI::App& app, const std::string& name, double& target, double low, double high,
                        const std::string& help) {
  return check(app.add_option(name, target, help)->capture_default_str()->type_name("X"),
               fmt::format("a number from {} to {}", low, high), [=](const std::string& text) {
                 const auto number = parsed<double>(text);
                 return number && *number >= low && *number <= high;
               });
}

CLI::Option* add_share(CLI::App& app, const std::string& name, std::optional<double>& target, const std::string& help) {
  auto* option = app.add_option_function<double>(
                        name, [&target](const double& value) { target = value; }, help)
                     ->type_name("S");
  return check(option, "a number in [0, 1)", [](const std::string& text) {
    const auto number = parsed<double>(text);
    return number && *number >= 0 && *number < 1;
  });
}

const char* const kPackHelp =
    "how weights of Linear layers are stored: none; bitmap, N:M or block:1x16, where they have such zeros; int8, int8/32, int8/64 or "
    "int8/128; both joined by +; auto: what pays for each";

CLI::Option* add_model(CLI::App& app, std::string& target) {
  return add_text(app, "MODEL", target, "MODEL", "directory or file of the model, or the name of an embedded one");
}

std::map<std::string, std::vector<int64_t>> parse_input_shapes(const std::vector<std::string>& shapes) {
  std::map<std::string, std::vector<int64_t>> result;
  for (const auto& text : shapes) {
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0)
      throw UserError("--input-shape", "value", "NAME=SIZES, as ids=1x128", "'" + printable(text) + "'");
    result[text.substr(0, equals)] = parse_shape(text.substr(equals + 1), "--input-shape");
  }
  return result;
}

MethodOptions parse_settings(const std::vector<std::string>& settings, const std::string& option) {
  MethodOptions options;
  for (const auto& setting : settings) {
    const size_t sign = setting.find('=');
    if (sign == 0 || sign == std::string::npos)
      user_error("{}: expected name=value, found '{}'", option, printable(setting));
    if (!options.emplace(setting.substr(0, sign), setting.substr(sign + 1)).second)
      user_error("{}: '{}' is given twice", option, printable(setting.substr(0, sign)));
  }
  return options;
}

bool parse_arguments(CLI::App& app, const std::vector<std::string>& arguments) {
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 takes them from the back
    return true;
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ExtrasError& error) {
    const auto left = app.remaining();
    if (left.empty()) user_error("{}", one_line(error.what()));
    unexpected(app, left.front());
  } catch (const CLI::RequiredError& error) {
    user_error("{}; `{} --help` shows an example", one_line(error.what()), app.get_name());
  } catch (const CLI::ParseError& error) {
    user_error("{}", one_line(error.what()));
  }
}

}  // namespace espalier
