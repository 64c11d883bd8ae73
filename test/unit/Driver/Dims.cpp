//===- Dims.cpp - sizes for the symbolic dimensions of a model ------------===//

#include "cleave/Driver/Dims.h"

#include <gtest/gtest.h>

using namespace cleave;

using Sizes = std::map<std::string, int64_t>;

/// As the ONNX Runtime examples and optimum name them.
static std::vector<ModelInput> decoder() {
  return {{"input_ids", {}, {{-1, "batch_size"}, {-1, "seq_len"}}},
          {"attention_mask", {}, {{-1, "batch_size"}, {-1, "total_seq_len"}}},
          {"past_0", {}, {{2, ""}, {-1, "batch_size"}, {4, ""}, {-1, "past_seq_len"}, {8, ""}}}};
}

static std::vector<ModelInput> encoderDecoder() {
  return {{"encoder_attention_mask", {}, {{-1, "batch_size"}, {-1, "encoder_sequence_length"}}},
          {"input_ids", {}, {{-1, "batch_size"}, {-1, "decoder_sequence_length"}}},
          {"past.key", {}, {{-1, "batch_size"}, {8, ""}, {-1, "past_decoder_sequence_length"}}}};
}

TEST(Dims, ATotalIsAPastAndASequence) {
  EXPECT_EQ(bindDims(decoder(), {}),
            (Sizes{{"batch_size", 1}, {"seq_len", 16}, {"past_seq_len", 16}, {"total_seq_len", 32}}));
  EXPECT_EQ(bindDims(decoder(), {{"seq_len", 3}, {"past_seq_len", 0}}).at("total_seq_len"), 3);
  EXPECT_EQ(bindDims(decoder(), {{"total_seq_len", 7}}).at("total_seq_len"), 7);
}

TEST(Dims, SumsAreComputed) {
  std::vector<ModelInput> inputs = {{"mask", {}, {{-1, "past_seq_len + 2 * seq_len"}}}};
  EXPECT_EQ(bindDims(inputs, {{"sequence", 5}, {"past", 2}}).at("past_seq_len + 2 * seq_len"), 12);
}

TEST(Dims, OneStepOfDecoding) {
  Sizes actual = bindDims(decoder(), {{"batch_size", 8}, {"seq_len", 512}, {"past_seq_len", 0}});
  EXPECT_EQ(decodeDims(decoder(), actual, 2),
            (Sizes{{"batch_size", 2}, {"seq_len", 1}, {"past_seq_len", 1024}, {"total_seq_len", 1025}}));
}

TEST(Dims, WhatAnEncoderReadIsKept) {
  Sizes actual = bindDims(encoderDecoder(), {{"encoder_sequence_length", 77}});
  EXPECT_EQ(decodeDims(encoderDecoder(), actual, 1),
            (Sizes{{"batch_size", 1},
                   {"encoder_sequence_length", 77},
                   {"decoder_sequence_length", 1},
                   {"past_decoder_sequence_length", 1024}}));
}

TEST(Dims, WithoutAPastNothingIsDecoded) {
  std::vector<ModelInput> inputs = decoder();
  inputs.pop_back();
  EXPECT_EQ(decodeDims(inputs, bindDims(inputs, {}), 1), std::nullopt);
  // Nor where the past has one size.
  inputs = decoder();
  inputs[2].dims[3] = {64, ""};
  EXPECT_EQ(decodeDims(inputs, bindDims(inputs, {}), 1), std::nullopt);
}
