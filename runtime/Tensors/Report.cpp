//===- Report.cpp - what a run is told to have done -----------------------===//

#include "cleave/Runtime/Tensors.h"

#include <nlohmann/json.hpp>

using namespace cleave;
using Json = nlohmann::ordered_json;

std::string cleave::runtime::formatOutputs(const cleave_program &program) {
  std::string text;
  for (uint32_t i = 0; i < program.num_outputs; ++i) {
    const cleave_value &value = program.outputs[i];
    text += std::string(value.name) + ": " + cleave_type_name(value.type) + " " +
            shapeText(std::span(value.dims, value.num_dims)) + "\n";
  }
  return text;
}

std::string cleave::runtime::formatReport(const cleave_program &program,
                                          const cleave_session *session,
                                          std::span<const double> latencies) {
  Json result = {{"outputs", Json::array()}, {"ranks", Json::array()}};
  for (uint32_t i = 0; i < program.num_outputs; ++i) {
    const cleave_value &value = program.outputs[i];
    result["outputs"].push_back(
        {{"name", value.name},
         {"type", cleave_type_name(value.type)},
         {"shape", std::vector<int64_t>(value.dims, value.dims + value.num_dims)}});
  }
  if (const char *exchange = cleave_session_exchange(session); *exchange)
    result["exchange"] = exchange;
  for (uint32_t rank = 0; rank < program.num_ranks; ++rank) {
    cleave_counters counters;
    // A rank of another process has counted there.
    if (cleave_session_counters(session, rank, &counters))
      continue;
    Json entry = {{"parameters", counters.param_bytes},
                  {"activations", counters.arena_bytes},
                  {"calls", Json::object()},
                  {"sent", Json::object()}};
    for (uint8_t op = 0; op < CLEAVE_NUM_OPS; ++op) {
      if (counters.calls[op])
        entry["calls"][cleave_op_name(op)] = counters.calls[op];
      if (counters.bytes[op])
        entry["sent"][cleave_op_name(op)] = counters.bytes[op];
    }
    result["ranks"].push_back(std::move(entry));
  }
  if (!latencies.empty())
    result["latency_ms"] = std::vector<double>(latencies.begin(), latencies.end());
  return result.dump(2, ' ', false, Json::error_handler_t::replace);
}
