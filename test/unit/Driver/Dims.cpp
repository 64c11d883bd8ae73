//===- Dims.cpp - sizes for the symbolic dimensions of a model ------------===//

#include "cleave/Driver/Dims.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

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
  EXPECT_EQ(
      bindDims(decoder(), {}),
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
  EXPECT_EQ(
      decodeDims(decoder(), actual, 2),
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

/// An input with such dimensions, a number being a fixed size.
static ModelInput input(const std::string &name, const std::vector<std::string> &dims) {
  ModelInput result{name, {}, {}};
  for (llvm::StringRef dim : dims) {
    int64_t size;
    bool fixed = !dim.getAsInteger(10, size);
    result.dims.push_back({fixed ? size : -1, dim.str()});
  }
  return result;
}

static int64_t bound(const std::string &dim, const Sizes &given) {
  return bindDims({input("x", {dim})}, given).at(dim);
}

TEST(Dims, Expressions) {
  EXPECT_EQ(bound("past + seq", {{"past", 3}, {"seq", 4}}), 7);
  EXPECT_EQ(bound("past+seq", {{"past", 3}, {"seq", 4}}), 7);
  EXPECT_EQ(bound("2*seq + 1", {{"seq", 4}}), 9);
  EXPECT_EQ(bound("a - b - 1", {{"a", 9}, {"b", 3}}), 5);
  EXPECT_EQ(bound("a + b*c", {{"a", 1}, {"b", 2}, {"c", 3}}), 7);
}

TEST(Dims, WhatOverflowsIsNoExpression) {
  Sizes huge = {{"a", INT64_MAX}, {"b", INT64_MAX}};
  EXPECT_EQ(bound("a + b", huge), bound("some_length", huge));
  EXPECT_EQ(bound("a * b", huge), bound("some_length", huge));
}

TEST(Dims, SumsOfAnySizes) {
  EXPECT_TRUE(rc::check("a sum of any sizes is their sum", [] {
    auto a = *rc::gen::inRange<int64_t>(0, 1 << 20), b = *rc::gen::inRange<int64_t>(0, 1 << 20);
    RC_ASSERT(bound("a + b", {{"a", a}, {"b", b}}) == a + b);
    RC_ASSERT(bound("a * b", {{"a", a}, {"b", b}}) == a * b);
  }));
}

TEST(Dims, DefaultsByMeaning) {
  Sizes sizes = bindDims({input("x", {"batch_size", "seq_len", "past_len", "past_len + seq_len"})},
                         {}, {2, 5, 7});
  EXPECT_EQ(sizes["batch_size"], 2);
  EXPECT_EQ(sizes["seq_len"], 5);
  EXPECT_EQ(sizes["past_len"], 7);
  EXPECT_EQ(sizes["past_len + seq_len"], 12);
}

TEST(Dims, OneMeaningManyNames) {
  Sizes sizes = bindDims({input("x", {"sequence_len"}), input("y", {"seq"})}, {{"seq", 9}});
  EXPECT_EQ(sizes["sequence_len"], 9);
}

TEST(Dims, ShapesBind) {
  Sizes sizes;
  EXPECT_FALSE(bindShape(input("x", {"N", "3"}), {2, 3}, sizes));
  EXPECT_EQ(sizes["N"], 2);
  auto reason = [&](const ModelInput &of, std::vector<int64_t> shape) {
    return llvm::toString(bindShape(of, shape, sizes));
  };
  EXPECT_EQ(reason(input("y", {"N"}), {4}), "input \"y\" wants 2 for \"N\", got: 4");
  EXPECT_EQ(reason(input("y", {"3"}), {4}), "input \"y\" wants 3 for \"3\", got: 4");
  EXPECT_EQ(reason(input("y", {"N"}), {2, 2}), "input \"y\" wants 1 dimensions, got: 2");
}

TEST(Dims, NamesThatThereAre) {
  std::vector<ModelInput> inputs = {input("x", {"N", "past + seq", "3"})};
  for (const char *name : {"N", "past", "seq", "past + seq"})
    EXPECT_FALSE(checkDimName(inputs, name)) << name;
  EXPECT_EQ(llvm::toString(checkDimName(inputs, "pas")),
            "--dim: the model has no dimension \"pas\"; it has \"N\", \"past + seq\"");
  EXPECT_EQ(llvm::toString(checkDimName({input("x", {"3"})}, "N")),
            "--dim: the model has no dimension \"N\"; it has none that is open");
}
