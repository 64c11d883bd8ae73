//===- Connect.cpp - how the ranks of a job exchange between GPUs ---------===//
//
// All tell rank 0 which GPU they are on, and it tells all what follows from that.
//
//===----------------------------------------------------------------------===//

#include "Session.h"

#include <cstdio>
#include <cstring>
#include <new>

using namespace cleave::runtime;

namespace {

/// What a rank has.
struct Offer {
  CUuuid device;
};

/// What all do.
struct Plan {
  char remark[512];
};

} // namespace

/// Of two ranks on one GPU, or "".
static void describeShared(const Control &control, const std::vector<Offer> &offers, char *text,
                           size_t room) {
  for (uint32_t b = 0; b < offers.size(); ++b)
    for (uint32_t a = 0; a < b; ++a)
      if (!memcmp(&offers[a].device, &offers[b].device, sizeof(CUuuid)) &&
          control.host(a) == control.host(b)) {
        snprintf(text, room,
                 "ranks %u and %u on %.60s share a GPU, so ranks exchange through memory of the "
                 "host; start no more ranks on a host than it has GPUs, and let each see its own",
                 a, b, control.host(a).c_str());
        return;
      }
}

bool Session::connect(Waiter &waiter) noexcept {
  static constexpr char what[] = "while they agree on how GPUs exchange";
  try {
    std::vector<Offer> offers(program.num_ranks);
    Plan plan = {};
    offers[firstRank].device = gpu->deviceOf(firstRank);
    Outcome outcome = Outcome::Done;
    if (firstRank > 0)
      outcome = messages->postSend(0, &offers[firstRank], sizeof(Offer), waiter);
    for (uint32_t r = 1; r < program.num_ranks && firstRank == 0 && outcome; ++r)
      outcome = messages->postReceive(r, &offers[r], sizeof(Offer), waiter);
    if (outcome)
      outcome = messages->finish(waiter);
    if (!moved(outcome, what))
      return false;
    if (firstRank == 0)
      describeShared(*process->control, offers, plan.remark, sizeof plan.remark);
    else
      outcome = messages->postReceive(0, &plan, sizeof plan, waiter);
    for (uint32_t r = 1; r < program.num_ranks && firstRank == 0 && outcome; ++r)
      outcome = messages->postSend(r, &plan, sizeof plan, waiter);
    if (outcome)
      outcome = messages->finish(waiter);
    if (*plan.remark)
      gpu->addRemark(plan.remark);
    return moved(outcome, what);
  } catch (const std::bad_alloc &) {
    reportPlain(firstRank, "out of memory to agree on how GPUs exchange");
    return false;
  }
}
