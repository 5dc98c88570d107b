// From what a verb asks for to a decoder and its sequences.
#pragma once

#include <memory>

#include "espalier/engine/decoder.h"
#include "espalier/requests/requests.h"

namespace espalier {

// UserError on a dtype, group or device that the engine does not have.
DecoderOptions decoder_options(const CommonRequest& common, const EngineRequest& engine);
AttentionRequest attention_request(const CommonRequest& common, const EngineRequest& engine);

// UserError unless `model` (a path, or the name of an embedded one) is a language model of a kind that the engine runs.
std::unique_ptr<Decoder> open_decoder(const std::string& model, const CommonRequest& common, const EngineRequest& engine);

}  // namespace espalier
