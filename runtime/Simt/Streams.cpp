//===- Streams.cpp - CUDA's functions for streams and events --------------===//

#include "Driver.h"

using namespace cleave::simt;

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!stream || (flags & ~unsigned(CU_STREAM_NON_BLOCKING)))
      return CUDA_ERROR_INVALID_VALUE;
    auto made = std::make_unique<CUstream_st>();
    made->context = context;
    made->blocking = !(flags & CU_STREAM_NON_BLOCKING);
    made->priority = priority;
    made->chain = Execution::get().timeline.newChain();
    *stream = made.get();
    driver.streams[*stream] = std::move(made);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
  return cuStreamCreateWithPriority(stream, flags, 0);
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  if (least)
    *least = 0;
  if (greatest)
    *greatest = -5;
  return CUDA_SUCCESS;
}

/// Calls `body` with a stream that is known.
template <typename Body> static CUresult onStream(CUstream stream, Body &&body) {
  return enter([&](Driver &driver, CUcontext context) {
    CUstream known = driver.streamOf(stream);
    return known ? body(driver, context, known) : CUDA_ERROR_INVALID_HANDLE;
  });
}

/// The same, for a call that a capture could not repeat.
template <typename Body> static CUresult onEagerStream(CUstream stream, Body &&body) {
  return onStream(stream, [&](Driver &driver, CUcontext context, CUstream known) {
    if (!known->capture)
      return body(driver, context, known);
    known->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  });
}

CUresult cuStreamDestroy(CUstream stream) {
  return onEagerStream(stream, [&](Driver &driver, CUcontext context, CUstream known) {
    if (known != stream)
      return CUDA_ERROR_INVALID_HANDLE;
    // What is queued is done all the same.
    CUresult result = driver.finish(context, known);
    Execution::get().timeline.endChain(known->chain);
    driver.streams.erase(known);
    return result;
  });
}

CUresult cuStreamSynchronize(CUstream stream) {
  return onEagerStream(stream, [&](Driver &driver, CUcontext context, CUstream known) {
    return driver.finish(context, known);
  });
}

CUresult cuStreamQuery(CUstream stream) {
  return onEagerStream(stream, [&](Driver &driver, CUcontext context, CUstream known) {
    if (!known->queue.empty())
      driver.step(known);
    known->atWork = !known->queue.empty();
    if (known->atWork)
      return CUDA_ERROR_NOT_READY;
    learn(driver.host, known->known);
    return driver.verdict(context);
  });
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data) {
  return onStream(stream, [&](Driver &driver, CUcontext, CUstream known) {
    if (!function)
      return CUDA_ERROR_INVALID_VALUE;
    return driver.enqueue(known, [=] {
      function(data);
      return CUDA_SUCCESS;
    });
  });
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
  return enter([&](Driver &driver, CUcontext) {
    if (!event || (flags & ~unsigned(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)))
      return CUDA_ERROR_INVALID_VALUE;
    auto made = std::make_unique<CUevent_st>();
    made->timed = !(flags & CU_EVENT_DISABLE_TIMING);
    *event = made.get();
    driver.events[*event] = std::move(made);
    return CUDA_SUCCESS;
  });
}

/// Calls `body` with an event that is known, and is no part of a capture.
template <typename Body> static CUresult onEvent(CUevent event, Body &&body) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!driver.events.count(event))
      return CUDA_ERROR_INVALID_HANDLE;
    if (!event->capture)
      return body(driver, context);
    event->capture->invalid = true;
    return CUDA_ERROR_CAPTURED_EVENT;
  });
}

CUresult cuEventDestroy(CUevent event) {
  return enter([&](Driver &driver, CUcontext context) {
    if (!driver.events.count(event))
      return CUDA_ERROR_INVALID_HANDLE;
    // Streams may still wait for it.
    CUresult result = driver.finish(context, event);
    driver.finish(context, CUstream(nullptr));
    driver.events.erase(event);
    return result;
  });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  return onStream(stream, [&](Driver &driver, CUcontext, CUstream known) {
    if (!driver.events.count(event))
      return CUDA_ERROR_INVALID_HANDLE;
    event->capture = known->capture;
    if (known->capture) {
      event->after = known->after;
      return known->capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    }
    uint64_t times = ++event->recorded;
    event->known = std::make_shared<Knowledge>();
    return driver.enqueue(known, [=, before = event->known] {
      event->done = std::max(event->done, times);
      *before = known->known;
      event->time = std::chrono::steady_clock::now();
      return CUDA_SUCCESS;
    });
  });
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  return onStream(stream, [&](Driver &driver, CUcontext, CUstream known) {
    if (!driver.events.count(event))
      return CUDA_ERROR_INVALID_HANDLE;
    if (!event->capture) {
      if (!known->capture) {
        driver.await(known, event);
        return CUDA_SUCCESS;
      }
      known->capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (known->capture && known->capture != event->capture) {
      known->capture->invalid = event->capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    // A stream that waits for a captured event is captured too.
    known->capture = event->capture;
    known->after.insert(known->after.end(), event->after.begin(), event->after.end());
    return CUDA_SUCCESS;
  });
}

CUresult cuEventQuery(CUevent event) {
  return onEvent(event, [&](Driver &driver, CUcontext context) {
    if (event->done < event->recorded)
      driver.step(nullptr);
    if (event->done < event->recorded)
      return CUDA_ERROR_NOT_READY;
    if (event->known)
      learn(driver.host, *event->known);
    return driver.verdict(context);
  });
}

CUresult cuEventSynchronize(CUevent event) {
  return onEvent(event,
                 [&](Driver &driver, CUcontext context) { return driver.finish(context, event); });
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
  return onEvent(start, [&](Driver &driver, CUcontext) {
    if (!milliseconds)
      return CUDA_ERROR_INVALID_VALUE;
    if (!driver.events.count(end) || !start->timed || !end->timed || !start->recorded ||
        !end->recorded)
      return CUDA_ERROR_INVALID_HANDLE;
    if (start->done < start->recorded || end->done < end->recorded)
      return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return CUDA_SUCCESS;
  });
}

// As it was called before CUDA 13.
#undef cuEventElapsedTime
extern "C" CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime_v2(milliseconds, start, end);
}
