//===- Sockets.cpp - a wire of stream sockets -----------------------------===//

#include "Sockets.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/socket.h>
#include <sys/uio.h>

using namespace cleave::runtime;

namespace {

/// Goes before each message.
struct Header {
  uint64_t tag;
  uint64_t bytes;
};

struct Slot {
  bool flies = false;
  char *data;
  uint64_t moved; ///< of header and data
  Header header;
};

/// Slots, oldest first, in a ring as long as there are slots.
class Queue {
public:
  void reserve(uint32_t slots) { ring.resize(std::bit_ceil(slots)); }
  bool empty() const { return first == last; }
  uint32_t front() const { return ring[first & (ring.size() - 1)]; }
  void push(uint32_t slot) { ring[last++ & (ring.size() - 1)] = slot; }
  void pop() { ++first; }

private:
  std::vector<uint32_t> ring;
  uint32_t first = 0, last = 0;
};

struct Stream {
  Socket socket;
  Queue sends, receives;
};

enum class Step { Done, Later, Broken };

} // namespace

struct cleave_wire {
  Step sendSome(Stream &stream, uint32_t peer, Slot &slot);
  Step receiveSome(Stream &stream, uint32_t peer, Slot &slot);
  /// False where a stream is broken.
  bool progress(uint32_t index);
  Step stop(uint32_t peer, const char *why);

  uint32_t size;
  std::vector<Stream> streams; ///< [channel][peer]
  std::vector<Slot> slots;
  char problem[200] = "";
};

Step cleave_wire::stop(uint32_t peer, const char *why) {
  snprintf(problem, sizeof problem, "the connection to rank %u is lost: %s", peer, why);
  return Step::Broken;
}

Step cleave_wire::sendSome(Stream &stream, uint32_t peer, Slot &slot) {
  while (slot.moved < sizeof(Header) + slot.header.bytes) {
    uint64_t header = std::min<uint64_t>(slot.moved, sizeof(Header));
    iovec parts[] = {
        {reinterpret_cast<char *>(&slot.header) + header, sizeof(Header) - header},
        {slot.data + (slot.moved - header), slot.header.bytes - (slot.moved - header)}};
    msghdr message = {};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    ssize_t sent = sendmsg(stream.socket.get(), &message, MSG_NOSIGNAL);
    if (sent < 0)
      return errno == EAGAIN || errno == EINTR ? Step::Later : stop(peer, strerror(errno));
    slot.moved += uint64_t(sent);
  }
  return Step::Done;
}

Step cleave_wire::receiveSome(Stream &stream, uint32_t peer, Slot &slot) {
  const Header wanted = slot.header;
  while (slot.moved < sizeof(Header) + wanted.bytes) {
    Header header = wanted;
    ssize_t got;
    if (slot.moved < sizeof header) {
      // A header is small: it comes whole, or is looked at again later.
      got = recv(stream.socket.get(), &header, sizeof header, MSG_PEEK);
      if (got >= 0 && size_t(got) == sizeof header) {
        if (header.tag != wanted.tag || header.bytes != wanted.bytes)
          return stop(peer, "it sends another message than the one that is due");
        got = recv(stream.socket.get(), &header, sizeof header, 0);
      } else if (got > 0) {
        return Step::Later;
      }
    } else {
      uint64_t at = slot.moved - sizeof header;
      got = recv(stream.socket.get(), slot.data + at, wanted.bytes - at, 0);
    }
    if (got == 0)
      return stop(peer, "it has ended");
    if (got < 0)
      return errno == EAGAIN || errno == EINTR ? Step::Later : stop(peer, strerror(errno));
    slot.moved += uint64_t(got);
  }
  return Step::Done;
}

bool cleave_wire::progress(uint32_t index) {
  Stream &stream = streams[index];
  for (bool sends : {true, false}) {
    Queue &queue = sends ? stream.sends : stream.receives;
    while (!queue.empty()) {
      Slot &slot = slots[queue.front()];
      Step step =
          sends ? sendSome(stream, index % size, slot) : receiveSome(stream, index % size, slot);
      if (step == Step::Broken)
        return false;
      if (step == Step::Later)
        break;
      slot.flies = false;
      queue.pop();
    }
  }
  return true;
}

static int32_t reserve(cleave_wire *wire, uint32_t slots) {
  wire->slots.resize(std::max<size_t>(wire->slots.size(), slots));
  for (Stream &stream : wire->streams) {
    stream.sends.reserve(uint32_t(wire->slots.size()));
    stream.receives.reserve(uint32_t(wire->slots.size()));
  }
  return 0;
}

static int32_t start(cleave_wire *wire, uint32_t slot, uint32_t index, bool sends, uint32_t tag,
                     char *data, uint64_t bytes) {
  wire->slots[slot] = {true, data, 0, {tag, bytes}};
  Stream &stream = wire->streams[index];
  (sends ? stream.sends : stream.receives).push(slot);
  return wire->progress(index) ? 0 : -1;
}

static int32_t sendMessage(cleave_wire *wire, uint32_t slot, uint32_t peer, uint32_t channel,
                           uint32_t tag, const void *data, uint64_t bytes) {
  return start(wire, slot, channel * wire->size + peer, /*sends=*/true, tag,
               static_cast<char *>(const_cast<void *>(data)), bytes);
}

static int32_t receiveMessage(cleave_wire *wire, uint32_t slot, uint32_t peer, uint32_t channel,
                              uint32_t tag, void *data, uint64_t bytes) {
  return start(wire, slot, channel * wire->size + peer, /*sends=*/false, tag,
               static_cast<char *>(data), bytes);
}

static int32_t test(cleave_wire *wire, uint32_t first, uint32_t count) {
  for (uint32_t i = 0; i < wire->streams.size(); ++i)
    if (!wire->progress(i))
      return -1;
  for (uint32_t i = first; i < first + count; ++i)
    if (wire->slots[i].flies)
      return 0;
  return 1;
}

/// A stream may end anywhere.
static int32_t withdraw(cleave_wire *) { return 1; }

static const char *error(const cleave_wire *wire) { return wire->problem; }

static void close(cleave_wire *wire, int32_t) { delete wire; }

const cleave_wire_api *cleave::runtime::socketsApi() {
  static const cleave_wire_api api = {
      CLEAVE_WIRE_VERSION,   "sockets",
      /*open=*/nullptr,
      /*broadcast=*/nullptr, reserve,   sendMessage, receiveMessage, test, withdraw, error, close};
  return &api;
}

cleave_wire *cleave::runtime::createSockets(uint32_t size, std::vector<Socket> sockets) {
  auto *wire = new cleave_wire{size, std::vector<Stream>(sockets.size()), {}};
  for (size_t i = 0; i < sockets.size(); ++i)
    wire->streams[i].socket = std::move(sockets[i]);
  return wire;
}
