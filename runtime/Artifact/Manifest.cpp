//===- Manifest.cpp - manifest.json ---------------------------------------===//
//
// JSON for people and scripts, and yet no byte of it may change unseen: the last
// field is the digest of all text before it.
//
//===----------------------------------------------------------------------===//

#include "cleave/Runtime/ArtifactFormat.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

using namespace cleave::runtime;
using Json = nlohmann::ordered_json;

static constexpr std::string_view kTail = ",\n  \"digest\": \"";
static constexpr std::string_view kEnd = "\"\n}\n";
static constexpr size_t kDigits = 32;

static Json valuesJson(const std::vector<Manifest::Value> &values) {
  Json list = Json::array();
  for (const Manifest::Value &value : values) {
    list.push_back({{"name", value.name}, {"type", value.type}, {"shape", value.shape}});
    if (value.indices)
      list.back()["indices"] = {
          {"from", value.indices->from}, {"to", value.indices->to}, {"node", value.indices->node}};
  }
  return list;
}

const char *cleave::runtime::targetOf(uint8_t device) {
  switch (device) {
  case CLEAVE_DEVICE_CPU: return "cpu";
  case CLEAVE_DEVICE_CUDA: return "cuda";
  case CLEAVE_DEVICE_SIMT: return "simt";
  }
  return nullptr;
}

std::string cleave::runtime::formatManifest(const Manifest &manifest) {
  Json json = {{"format", kFormat},
               {"abi", manifest.abi},
               {"target", manifest.target},
               {"architecture", manifest.architecture},
               {"features", manifest.features}};
  if (manifest.target != targetOf(CLEAVE_DEVICE_CPU))
    json.update({{"chips", manifest.chips}, {"driver", manifest.driver}});
  json.update({{"mesh", manifest.mesh},
               {"ranks", manifest.ranks},
               {"inputs", valuesJson(manifest.inputs)},
               {"outputs", valuesJson(manifest.outputs)},
               {"weights", manifest.references.empty() ? "shards" : "reference"},
               {"references", manifest.references},
               {"files", Json::array()}});
  for (const Manifest::File &file : manifest.files)
    json["files"].push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"digest", digestText(file.digest)}});
  std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  text.resize(text.size() - std::string_view("\n}").size());
  return sealManifest(std::move(text));
}

std::string cleave::runtime::sealManifest(std::string body) {
  std::string digest = digestText(digestOf(body.data(), body.size()));
  return body + std::string(kTail) + digest + std::string(kEnd);
}

const Manifest::File *Manifest::find(std::string_view name) const {
  for (const File &file : files)
    if (file.name == name)
      return &file;
  return nullptr;
}

static bool parseDigest(const std::string &text, Digest &digest) {
  if (text.size() != kDigits || text.find_first_not_of("0123456789abcdef") != text.npos)
    return false;
  digest.high = std::stoull(text.substr(0, 16), nullptr, 16);
  digest.low = std::stoull(text.substr(16), nullptr, 16);
  return true;
}

/// The library would take a fraction too, cut what is too large, and is undefined where a
/// fraction is.
template <typename Count> static void getCount(const Json &json, Count &count) {
  const auto *number = json.get_ptr<const Json::number_unsigned_t *>();
  if (!number || *number > uint64_t(std::numeric_limits<Count>::max()))
    throw std::out_of_range("a count is to be a whole number, got: " + json.dump());
  count = Count(*number);
}

static int64_t wholeNumber(const Json &json) {
  if (!json.is_number_integer())
    throw std::out_of_range("an index is to be a whole number, got: " + json.dump());
  return json.get<int64_t>();
}

static std::vector<Manifest::Value> parseValues(const Json &list) {
  std::vector<Manifest::Value> values;
  for (const Json &value : list) {
    Manifest::Value &made = values.emplace_back(value.at("name"), value.at("type"));
    for (const Json &size : value.at("shape"))
      getCount(size, made.shape.emplace_back());
    if (auto indices = value.find("indices"); indices != value.end())
      made.indices = {wholeNumber(indices->at("from")), wholeNumber(indices->at("to")),
                      indices->at("node")};
  }
  return values;
}

/// What older and newer versions say is read no further than their number.
static Reason parseFields(const Json &json, Manifest &manifest) {
  if (json.at("format") != kFormat)
    return "is not that of an artifact";
  getCount(json.at("abi"), manifest.abi);
  if (manifest.abi != CLEAVE_PROGRAM_VERSION)
    return {};
  json.at("target").get_to(manifest.target);
  json.at("architecture").get_to(manifest.architecture);
  json.at("features").get_to(manifest.features);
  if (manifest.target != targetOf(CLEAVE_DEVICE_CPU)) {
    json.at("chips").get_to(manifest.chips);
    json.at("driver").get_to(manifest.driver);
  }
  json.at("mesh").get_to(manifest.mesh);
  getCount(json.at("ranks"), manifest.ranks);
  manifest.inputs = parseValues(json.at("inputs"));
  manifest.outputs = parseValues(json.at("outputs"));
  json.at("references").get_to(manifest.references);
  for (const Json &file : json.at("files")) {
    Manifest::File &entry = manifest.files.emplace_back();
    file.at("name").get_to(entry.name);
    getCount(file.at("bytes"), entry.bytes);
    if (!parseDigest(file.at("digest"), entry.digest))
      return "is damaged: \"" + entry.name + "\" has no digest";
  }
  return {};
}

Reason cleave::runtime::parseManifest(std::string_view text, Manifest &manifest) {
  size_t tail = kTail.size() + kDigits + kEnd.size();
  if (text.size() < tail || !text.ends_with(kEnd) ||
      text.substr(text.size() - tail, kTail.size()) != kTail)
    return "is not that of an artifact, or damaged";
  Digest digest;
  std::string_view body = text.substr(0, text.size() - tail);
  std::string digits(text.substr(body.size() + kTail.size(), kDigits));
  if (!parseDigest(digits, digest) || digest != digestOf(body.data(), body.size()))
    return "is damaged: it does not agree with its digest";
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    return parseFields(json, manifest);
  } catch (const std::exception &error) {
    // The message of a library names its own error numbers; behind them it is plain.
    std::string_view what = error.what();
    size_t colon = what.find("] ");
    return "is damaged: " + std::string(colon == what.npos ? what : what.substr(colon + 2));
  }
}
