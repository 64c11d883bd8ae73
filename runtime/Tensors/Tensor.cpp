//===- Tensor.cpp - elements as numbers, and tensors as inputs ------------===//

#include "cleave/Runtime/Tensors.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace cleave;

Tensor::Tensor(cleave_type type, std::span<const int64_t> dims)
    : type(type), dims(dims.begin(), dims.end()) {
  bytes.resize(static_cast<size_t>(size()) * cleave_type_bytes(type));
}

int64_t Tensor::size() const {
  int64_t count = 1;
  for (int64_t dim : dims)
    count *= dim;
  return count;
}

static float fromHalf(uint16_t bits) {
  uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1f;
  uint32_t fraction = bits & 0x3ff, result;
  if (exponent == 0) {
    float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -value : value;
  }
  result = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  float value;
  std::memcpy(&value, &result, 4);
  return value;
}

/// Of f8E4M3FN: four bits of exponent, no infinities.
static float fromByteFloat(uint8_t bits) {
  int exponent = bits >> 3 & 15, fraction = bits & 7;
  float value = exponent == 15 && fraction == 7 ? NAN
                : exponent                      ? std::ldexp(float(8 + fraction), exponent - 10)
                                                : std::ldexp(float(fraction), -9);
  return bits & 128 ? -value : value;
}

double Tensor::at(int64_t i) const {
  auto load = [&]<typename T>(T value) {
    std::memcpy(&value, bytes.data() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    return value;
  };
  switch (type) {
  case CLEAVE_F32: return load(float());
  case CLEAVE_F64: return load(double());
  case CLEAVE_F16: return fromHalf(load(uint16_t()));
  case CLEAVE_BF16: {
    uint32_t bits = static_cast<uint32_t>(load(uint16_t())) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  case CLEAVE_I8: return load(int8_t());
  case CLEAVE_I16: return load(int16_t());
  case CLEAVE_I32: return load(int32_t());
  case CLEAVE_I64: return static_cast<double>(load(int64_t()));
  case CLEAVE_U8:
  case CLEAVE_BOOL: return load(uint8_t());
  case CLEAVE_F8E4M3FN: return fromByteFloat(load(uint8_t()));
  // The first half of an f16.
  case CLEAVE_F8E5M2: return fromHalf(uint16_t(load(uint8_t()) << 8));
  case CLEAVE_U16: return load(uint16_t());
  case CLEAVE_U32: return load(uint32_t());
  case CLEAVE_U64: return static_cast<double>(load(uint64_t()));
  case CLEAVE_NUM_TYPES: break;
  }
  return 0;
}

std::string cleave::shapeText(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

runtime::Reason cleave::runtime::bindInputs(const cleave_program &program,
                                            const NamedTensors &tensors,
                                            std::vector<cleave_input> &bound) {
  bound.clear();
  for (const auto &[name, tensor] : tensors)
    if (std::none_of(program.inputs, program.inputs + program.num_inputs,
                     [&](const cleave_value &value) { return value.name == name; }))
      return "the model has no input \"" + name + "\"";
  for (uint32_t i = 0; i < program.num_inputs; ++i) {
    const cleave_value &value = program.inputs[i];
    std::string name = value.name;
    auto found = tensors.find(name);
    if (found == tensors.end())
      return "input \"" + name + "\" is missing";
    const Tensor &tensor = found->second;
    std::span<const int64_t> want(value.dims, value.num_dims);
    if (tensor.type != value.type)
      return "input \"" + name + "\" wants " + cleave_type_name(value.type) +
             ", got: " + cleave_type_name(tensor.type);
    if (!std::equal(want.begin(), want.end(), tensor.dims.begin(), tensor.dims.end()))
      return "input \"" + name + "\" wants the shape " + shapeText(want) +
             ", got: " + shapeText(tensor.dims) + "; other sizes want another compilation";
    bound.push_back({tensor.bytes.data(), tensor.bytes.size()});
  }
  return {};
}

runtime::Reason cleave::runtime::checkIndices(const std::string &name, const Tensor &tensor,
                                              const IndexRange &range) {
  for (int64_t i = 0; i < tensor.size(); ++i)
    if (double index = tensor.at(i); index < double(range.from) || index > double(range.to)) {
      char number[32];
      std::snprintf(number, sizeof number, "%.0f", index);
      return "input \"" + name + "\" holds " + number + ", and node \"" + range.node +
             "\" takes indices from " + std::to_string(range.from) + " to " +
             std::to_string(range.to);
    }
  return {};
}

std::vector<cleave_output> cleave::runtime::bindOutputs(const cleave_program &program,
                                                        NamedTensors &tensors) {
  std::vector<cleave_output> bound;
  for (uint32_t i = 0; i < program.num_outputs; ++i) {
    const cleave_value &value = program.outputs[i];
    Tensor &tensor = tensors[value.name];
    tensor = Tensor(static_cast<cleave_type>(value.type), std::span(value.dims, value.num_dims));
    bound.push_back({tensor.bytes.data(), tensor.bytes.size()});
  }
  return bound;
}
