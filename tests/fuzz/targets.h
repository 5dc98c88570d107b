// What fuzzing calls, one function a format: any bytes are read to the end or refused by a UserError. Everything else
// that escapes (a failed assertion, bad_alloc, a sanitizer's report) is a finding. The libFuzzer programs *_target.cpp
// and the tests *_fuzz_test.cpp run the same functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "espalier/core/error.h"
#include "espalier/core/json.h"
#include "espalier/io/bitmap_pack.h"
#include "espalier/io/checkpoint_values.h"
#include "espalier/io/safetensors.h"
#include "espalier/io/tokenizer.h"
#include "espalier/io/torch_pickle.h"
#include "espalier/io/weight_pack.h"

namespace espalier::fuzz {

// Runs `body`; true if it did not refuse.
template <typename Body>
bool accepts(Body body) {
  try {
    body();
    return true;
  } catch (const UserError& error) {
    ESP_ASSERT(std::string_view(error.what()).find('\n') == std::string_view::npos, "an error of several lines");
    return false;
  }
}

// As Checkpoint does: parts that are missing or not aligned never come that far.
template <typename View>
void unpack_parts(const SafetensorsHeader& header, const PackedWeight& weight, View view) {
  PackedParts parts{*weight.form, weight.shape, weight.dtype, {}, {}, {}, {}};
  std::vector<TensorSpec> specs;
  for (const std::string& part : part_names(parts.form)) {
    for (const TensorInfo& info : header.tensors) {
      if (info.name != weight.name + "." + part) continue;
      Tensor copy(info.dtype, info.shape);
      if (copy.byte_size() > 0) std::memcpy(copy.mutable_bytes(), view(info).bytes(), copy.byte_size());
      part_of(parts, part) = copy;
      specs.push_back({info.name, info.dtype, info.shape});
      break;
    }
  }
  if (specs.size() != part_names(parts.form).size()) user_error("a part is missing");
  check_part_sizes(parts, specs, weight.name, "fuzz");
  check_parts(parts, weight.name, "fuzz");
  ESP_ASSERT(unpack_weight(parts).shape() == weight.shape);
}

inline void unpack_all(std::span<const std::byte> file, const SafetensorsHeader& header, const std::string& metadata) {
  auto view = [&](const TensorInfo& info) {
    return Tensor(info.dtype, info.shape, nullptr, file.data() + header.data_begin + info.begin);
  };
  for (const PackedWeight& weight : parse_pack_metadata(metadata, "fuzz")) {
    if (weight.form) {
      unpack_parts(header, weight, view);
      continue;
    }
    BitmapPacked packed;
    for (const TensorInfo& info : header.tensors) {
      if (info.name == bitmap_name(weight.name)) packed.bitmap = view(info);
      if (info.name == values_name(weight.name)) packed.values = view(info);
    }
    const Tensor dense = unpack_bitmap(packed, weight.shape, weight.name, "fuzz");
    ESP_ASSERT(dense.shape() == weight.shape);
  }
}

inline bool fuzz_safetensors(const uint8_t* data, size_t size) {
  return accepts([&] {
    const auto file = std::as_bytes(std::span(data, size));
    const SafetensorsHeader header = parse_safetensors(file, "fuzz");
    uint64_t covered = 0;
    for (const TensorInfo& info : header.tensors) {
      ESP_ASSERT(info.begin == covered && info.begin <= info.end && header.data_begin + info.end <= size);
      covered = info.end;
      count_values(Tensor(info.dtype, info.shape, nullptr, file.data() + header.data_begin + info.begin));
    }
    ESP_ASSERT(header.data_begin + covered == size);
    if (const auto pack = header.metadata.find(kPackMetadataKey); pack != header.metadata.end())
      unpack_all(file, header, pack->second);
  });
}

inline bool fuzz_torch_pickle(const uint8_t* data, size_t size) {
  return accepts([&] {
    const auto file = std::as_bytes(std::span(data, size));
    for (const TorchTensor& tensor : parse_torch(file, "fuzz")) {
      const Tensor copy = gather_torch_tensor(file, tensor);
      ESP_ASSERT(copy.byte_size() <= size, "a tensor larger than its file");
      count_values(copy);
    }
  });
}

// What is accepted must mean what the library's own parser says it means.
inline bool fuzz_json(const uint8_t* data, size_t size) {
  return accepts([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const Json json = parse_json(text, "fuzz");
    ESP_ASSERT(json == Json::parse(text), "another document");
  });
}

// Ids must name tokens or be the ids of special ones, and text that comes back must be UTF-8 however the ids are cut.
inline void use_tokenizer(std::shared_ptr<const Tokenizer> tokenizer) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {""sv, "Hello  w\u00f6rld 12.\n\t\u4f60\u597d\0 <s>\u2581a aaaaaaaaab"sv}) {
    const std::vector<int32_t> ids = tokenizer->encode(text);
    ESP_ASSERT(ids == tokenizer->encode(text), "not the same twice");
    for (int32_t id : ids) ESP_ASSERT(tokenizer->id_to_token(id).has_value(), "id {} is no token", id);
    ESP_ASSERT(is_valid_utf8(tokenizer->decode(ids, false)));
    StreamDecoder stream(tokenizer);
    for (int32_t id : ids) ESP_ASSERT(is_valid_utf8(stream.push(id)));
    ESP_ASSERT(is_valid_utf8(stream.finish()));
    tokenizer->encode_continuation(text);
  }
  ESP_ASSERT(tokenizer->vocab_size() > 0);
}

inline bool fuzz_tokenizer_json(const uint8_t* data, size_t size) {
  return accepts([&] {
    use_tokenizer(Tokenizer::from_json(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz"));
  });
}

inline bool fuzz_tokenizer_sentencepiece(const uint8_t* data, size_t size) {
  return accepts([&] {
    use_tokenizer(Tokenizer::from_sentencepiece(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz"));
  });
}

}  // namespace espalier::fuzz
