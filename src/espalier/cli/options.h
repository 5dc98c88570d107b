// Options with one form of message: "--sparsity: expected a number in [0, 1), found '1.5'". The type name of an option
// (MODEL, DATA, METHOD, FILE, DIR, or "a|b|c") is what its help shows and what completion offers.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "espalier/requests/requests.h"

namespace espalier {

constexpr int64_t kMostTokens = int64_t{1} << 40;  // or images; more is a slip of the keyboard

CLI::Option* add_text(CLI::App& app, const std::string& name, std::string& target, const std::string& type,
                      const std::string& help);
CLI::Option* add_texts(CLI::App& app, const std::string& name, std::vector<std::string>& target,
                       const std::string& type,
                       const std::string& help);  // repeatable, one value each time
CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& target,
                        const std::vector<std::string>& words, const std::string& help);
CLI::Option* add_integer(CLI::App& app, const std::string& name, int64_t& target, int64_t low, int64_t high,
                         const std::string& help);
CLI::Option* add_number(CLI::App& app, const std::string& name, double& target, double low, double high,
                        const std::string& help);
CLI::Option* add_share(CLI::App& app, const std::string& name, std::optional<double>& target,
                       const std::string& help);  // [0, 1)

// Of --pack FORM (core/weight_form.h).
extern const char* const kPackHelp;

// The MODEL that most verbs begin with.
CLI::Option* add_model(CLI::App& app, std::string& target);

// "name=value" of an option of the program; a name twice is an error.
MethodOptions parse_settings(const std::vector<std::string>& settings, const std::string& option = "--set");

// "name=1x3x224x224" of --input-shape.
std::map<std::string, std::vector<int64_t>> parse_input_shapes(const std::vector<std::string>& shapes);

// Parses; every error of CLI11 becomes a UserError, with the nearest name for an unknown option. False: help was asked
// for.
bool parse_arguments(CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace espalier
