// A verb of the program: one file that defines a class and one static object of it, which registers itself.
#pragma once

#include <string>
#include <vector>

#include "espalier/cli/options.h"
#include "espalier/core/json.h"

namespace espalier {

class Verb {
 public:
  // example: a command that works as it stands; {model} becomes the name of an embedded model.
  Verb(std::string name, std::string summary, std::string example);
  virtual ~Verb() = default;
  Verb(const Verb&) = delete;

  const std::string& name() const { return name_; }
  const std::string& summary() const { return summary_; }

  // Parses the arguments after the verb, runs, prints. Returns the exit code; throws as the library does.
  int main(const std::vector<std::string>& arguments);

  // The parser with all options of the verb, for completion too.
  void fill(CLI::App& app);

 protected:
  virtual void declare(CLI::App& app) = 0;
  // After parsing: defaults that depend on several options, contradictions. True asks for a second parse, for options
  // that override what has just been read (a recipe).
  virtual bool complete(CLI::App&) { return false; }
  virtual Json run() = 0;                            // what --json prints
  virtual std::string text(const Json& result) = 0;  // the same for people, with its last newline

  CommonRequest& common() { return *common_; }
  void use_common(CommonRequest& common) { common_ = &common; }  // keep seed, threads … in the verb's own request
  bool wants_json() const { return json_; }

 private:
  void declare_common(CLI::App& app);
  void apply_common();
  std::string printed(const Json& result);

  std::string name_, summary_, example_;
  CommonRequest own_common_;
  CommonRequest* common_ = &own_common_;
  int64_t seed_ = 0, threads_ = 0;
  bool json_ = false, quiet_ = false, detailed_ = false;
  std::string progress_ = "auto";
  std::vector<std::string> input_shapes_;
};

const std::vector<Verb*>& verbs();  // by name

}  // namespace espalier
