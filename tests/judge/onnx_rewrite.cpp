// onnx_rewrite IN OUT [never|auto|always]: reads an ONNX file and writes it again, for onnx_judge.py. Exit 2 with one
// line on standard error where the file is refused.
#include <cstdio>
#include <map>
#include <string>

#include "espalier/core/error.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/writer.h"

int main(int argc, char** argv) {
  const std::map<std::string, espalier::OnnxExternalData> modes{{"never", espalier::OnnxExternalData::kNever},
                                                                {"auto", espalier::OnnxExternalData::kAuto},
                                                                {"always", espalier::OnnxExternalData::kAlways}};
  if (argc < 3 || argc > 4 || !modes.contains(argc == 4 ? argv[3] : "auto")) {
    std::fprintf(stderr, "usage: onnx_rewrite IN OUT [never|auto|always]\n");
    return 2;
  }
  try {
    espalier::OnnxWriteOptions options;
    options.external_data = modes.at(argc == 4 ? argv[3] : "auto");
    espalier::write_onnx(espalier::read_onnx(argv[1]), argv[2], options);
    return 0;
  } catch (const espalier::UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
