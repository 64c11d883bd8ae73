//===- Connect.cpp - how ranks on GPUs exchange ---------------------------===//
//
// All processes tell rank 0 what they have, and it tells all what follows from that: they
// meet over NCCL where each rank has a GPU of its own and all have one NCCL, else ranks
// exchange through memory of the host, and all know why.
//
//===----------------------------------------------------------------------===//

#include "Session.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

using namespace cleave::runtime;

namespace cleave::runtime {

/// What the ranks of a process have.
struct GpuOffer {
  CUuuid device; ///< of its first rank
  int32_t wants; ///< to exchange from GPU to GPU
  int32_t version;
  char problem[320]; ///< why NCCL does not serve
};

/// What all do.
struct GpuPlan {
  ncclUniqueId id;
  int32_t connects;
  int32_t status;
  char remark[640]; ///< or why the session is refused
};

} // namespace cleave::runtime

/// Of two processes on one GPU; false where there are none.
static bool describeShared(const Control &control, const std::vector<GpuOffer> &offers,
                           GpuPlan &plan) {
  for (uint32_t b = 0; b < offers.size(); ++b)
    for (uint32_t a = 0; a < b; ++a)
      if (!memcmp(&offers[a].device, &offers[b].device, sizeof(CUuuid)) &&
          control.host(a) == control.host(b)) {
        snprintf(plan.remark, sizeof plan.remark,
                 "ranks %u and %u on %.60s share a GPU, so ranks exchange through memory of the "
                 "host; start no more ranks on a host than it has GPUs, and let each see its own",
                 a, b, control.host(a).c_str());
        return true;
      }
  return false;
}

/// The first process whose NCCL does not serve, or is another one than that of rank 0;
/// false where there is none. `control` is null where there is one process.
static bool describeMissing(const Control *control, const std::vector<GpuOffer> &offers,
                            GpuPlan &plan) {
  for (uint32_t r = 0; r < offers.size(); ++r) {
    std::string problem = offers[r].problem;
    if (problem.empty() && offers[r].version != offers[0].version)
      problem = "NCCL is " + ncclVersionText(offers[r].version) + ", and " +
                ncclVersionText(offers[0].version) + " at rank 0; install one on all hosts";
    if (problem.empty())
      continue;
    std::string place =
        control ? "rank " + std::to_string(r) + " on " + control->host(r) + ": " : "";
    snprintf(plan.remark, sizeof plan.remark,
             "%s%s; until then ranks exchange through memory of the host", place.c_str(),
             problem.c_str());
    return true;
  }
  return false;
}

/// At rank 0.
static void decide(const Control *control, const std::vector<GpuOffer> &offers, const Nccl *nccl,
                   GpuPlan &plan) {
  bool isShared = control && describeShared(*control, offers, plan);
  bool all = true;
  for (const GpuOffer &offer : offers)
    all &= offer.wants != 0;
  if (isShared || !all || describeMissing(control, offers, plan))
    return;
  plan.connects = 1;
  if (ncclResult_t result = nccl->ncclGetUniqueId(&plan.id)) {
    plan.status = CLEAVE_REFUSED;
    snprintf(plan.remark, sizeof plan.remark,
             "NCCL does not start: %s, %.400s; NCCL_DEBUG=INFO says more",
             nccl->ncclGetErrorString(result), nccl->ncclGetLastError(nullptr));
  }
}

/// The wire has the secret of the job, or is that of MPI, which carried the secret.
bool Session::shareOffers(std::vector<GpuOffer> &offers, GpuPlan &plan, const Nccl *nccl,
                          Waiter &waiter) {
  static constexpr char what[] = "while they agree on how GPUs exchange";
  Outcome outcome = Outcome::Done;
  if (firstRank > 0)
    outcome = messages->postSend(0, &offers[firstRank], sizeof(GpuOffer), waiter);
  for (uint32_t r = 1; r < program.num_ranks && firstRank == 0 && outcome; ++r)
    outcome = messages->postReceive(r, &offers[r], sizeof(GpuOffer), waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  if (!moved(outcome, what))
    return false;
  if (firstRank == 0)
    decide(process->control.get(), offers, nccl, plan);
  else
    outcome = messages->postReceive(0, &plan, sizeof plan, waiter);
  for (uint32_t r = 1; r < program.num_ranks && firstRank == 0 && outcome; ++r)
    outcome = messages->postSend(r, &plan, sizeof plan, waiter);
  if (outcome)
    outcome = messages->finish(waiter);
  return moved(outcome, what);
}

void Session::connect(Waiter &waiter) noexcept {
  cleave_error error = {};
  try {
    GpuPlan plan = {};
    std::vector<GpuOffer> offers(process ? program.num_ranks : 1);
    GpuOffer &own = offers[process ? firstRank : 0];
    own.device = gpu->deviceOf(firstRank);
    own.wants = connects && !gpu->isShared();
    const Nccl *nccl = nullptr;
    if (own.wants) {
      if (process)
        process->nameInterface();
      std::string problem;
      nccl = gpu->findNccl(problem);
      own.version = nccl ? nccl->version : 0;
      snprintf(own.problem, sizeof own.problem, "%s", problem.c_str());
    }
    if (!process)
      decide(nullptr, offers, nccl, plan);
    else if (!shareOffers(offers, plan, nccl, waiter))
      return;
    if (plan.status)
      fail(&error, plan.status, "%s", plan.remark);
    else if (*plan.remark)
      gpu->addRemark(plan.remark);
    if (plan.connects && !plan.status)
      gpu->connect(*nccl, plan.id, waiter, &error);
  } catch (const std::bad_alloc &) {
    fail(&error, CLEAVE_REFUSED, "out of memory to connect GPUs");
  }
  if (!error.status)
    return;
  reportPlain(firstRank, "%.700s", error.message);
  failure.status = error.status;
}
