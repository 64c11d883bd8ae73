//===- Socket.cpp - connections between the processes of a job ------------===//

#include "Socket.h"

#include "../Core/Error.h"
#include "Hmac.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

using namespace cleave::runtime;
using namespace std::chrono_literals;

/// What both ends of a greeting speak.
static constexpr char protocol[8] = {'c', 'l', 'e', 'a', 'v', 'e', '0', '1'};
static constexpr size_t nonceBytes = 32;

namespace {

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  sockaddr *get() { return reinterpret_cast<sockaddr *>(&storage); }
};

struct Challenge {
  char protocol[8];
  char nonce[nonceBytes];
};

struct Answer {
  Hello hello;
  char nonce[nonceBytes];
  Digest proof;
};

} // namespace

int Deadline::remainingMs() const {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
  return int(std::clamp<int64_t>(left, 0, 1 << 30));
}

Deadline Deadline::atMost(uint32_t ms) const {
  Deadline other(ms);
  other.end = std::min(other.end, end);
  return other;
}

void Socket::close() {
  if (fd >= 0)
    ::close(fd);
  fd = -1;
}

/// False where nothing comes within the deadline.
static bool await(int fd, short events, const Deadline &deadline) {
  pollfd entry{fd, events, 0};
  int ready;
  do
    ready = poll(&entry, 1, deadline.remainingMs());
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

bool Socket::readAll(void *data, size_t bytes, const Deadline &deadline) {
  auto *at = static_cast<char *>(data);
  while (bytes) {
    ssize_t got = recv(fd, at, bytes, 0);
    if (got > 0) {
      at += got;
      bytes -= size_t(got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      return false;
    } else if (!await(fd, POLLIN, deadline)) {
      return false;
    }
  }
  return true;
}

bool Socket::writeAll(const void *data, size_t bytes, const Deadline &deadline) {
  auto *at = static_cast<const char *>(data);
  while (bytes) {
    ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL);
    if (sent > 0) {
      at += sent;
      bytes -= size_t(sent);
    } else if (errno != EAGAIN && errno != EINTR) {
      return false;
    } else if (!await(fd, POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

static SocketAddress resolve(const Address &address) {
  SocketAddress result;
  if (address.local) {
    auto *unixAddress = reinterpret_cast<sockaddr_un *>(&result.storage);
    unixAddress->sun_family = AF_UNIX;
    size_t length = strnlen(address.name, sizeof unixAddress->sun_path - 1);
    memcpy(unixAddress->sun_path + 1, address.name, length);
    result.length = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + length);
    return result;
  }
  auto *four = reinterpret_cast<sockaddr_in *>(&result.storage);
  auto *six = reinterpret_cast<sockaddr_in6 *>(&result.storage);
  if (inet_pton(AF_INET, address.name, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(uint16_t(address.port));
    result.length = sizeof *four;
  } else {
    inet_pton(AF_INET6, address.name, &six->sin6_addr);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(uint16_t(address.port));
    result.length = sizeof *six;
  }
  return result;
}

static Address toText(const sockaddr *from) {
  Address address = {};
  if (from->sa_family == AF_INET6) {
    auto *six = reinterpret_cast<const sockaddr_in6 *>(from);
    inet_ntop(AF_INET6, &six->sin6_addr, address.name, sizeof address.name);
    address.port = ntohs(six->sin6_port);
  } else {
    auto *four = reinterpret_cast<const sockaddr_in *>(from);
    inet_ntop(AF_INET, &four->sin_addr, address.name, sizeof address.name);
    address.port = ntohs(four->sin_port);
  }
  return address;
}

static Socket create(const SocketAddress &address) {
  int family = address.storage.ss_family;
  Socket result(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int on = 1;
  if (result && family != AF_UNIX)
    setsockopt(result.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return result;
}

/// Whether the peer of a unix socket is of this user.
static bool isOurs(const Socket &socket) {
  ucred peer;
  socklen_t length = sizeof peer;
  return !getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) &&
         peer.uid == geteuid();
}

int32_t Listener::open(Address &address, cleave_error *error) {
  SocketAddress own = resolve(address);
  socket = create(own);
  local = address.local;
  int on = 1;
  if (socket && !local)
    setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!socket || bind(socket.get(), own.get(), own.length) || listen(socket.get(), SOMAXCONN)) {
    if (errno == EADDRINUSE)
      return fail(
          error, CLEAVE_REFUSED,
          "another job listens at %.110s port %u already; give this one another MASTER_PORT",
          address.name, address.port);
    return fail(
        error, CLEAVE_REFUSED,
        "cannot listen at %.110s port %u: %s; rank 0 is to be started where MASTER_ADDR says",
        address.name, address.port, strerror(errno));
  }
  if (!local)
    address = ownAddress(socket);
  return CLEAVE_OK;
}

Socket Listener::accept(const Deadline &deadline) {
  while (!deadline.passed()) {
    Socket peer(accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (peer && (!local || isOurs(peer))) {
      int on = 1;
      if (!local)
        setsockopt(peer.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return peer;
    }
    if (!peer && !await(socket.get(), POLLIN, deadline))
      break;
  }
  return Socket();
}

int32_t cleave::runtime::connectTo(const Address &address, const Deadline &deadline, Socket &socket,
                                   cleave_error *error) {
  SocketAddress target = resolve(address);
  int problem = 0;
  do {
    socket = create(target);
    if (!connect(socket.get(), target.get(), target.length))
      break;
    problem = errno;
    socklen_t length = sizeof problem;
    if (problem == EINPROGRESS && await(socket.get(), POLLOUT, deadline))
      getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &problem, &length);
    if (!problem)
      break;
    socket.close();
    std::this_thread::sleep_for(10ms);
  } while (!deadline.passed());
  if (!socket)
    return fail(error, CLEAVE_FAILED,
                "nobody answers at %.110s port %u: %s; is rank 0 started, and are MASTER_ADDR and "
                "MASTER_PORT its own?",
                address.name, address.port, strerror(problem));
  if (address.local && !isOurs(socket))
    return fail(error, CLEAVE_REFUSED, "another user listens at %.110s; give another MASTER_PORT",
                address.name);
  return CLEAVE_OK;
}

/// What each side proves: that it knows the secret, in this greeting, as this end.
static Digest prove(const char *side, const std::string &secret, const char *challenge,
                    const Hello &hello, const char *nonce) {
  std::string text(side);
  text.append(challenge, nonceBytes);
  text.append(reinterpret_cast<const char *>(&hello), sizeof hello);
  text.append(nonce, nonceBytes);
  return hmac(secret, text);
}

bool cleave::runtime::hear(Socket &socket, const std::string &secret, Hello &hello,
                           const Deadline &deadline) {
  Challenge challenge;
  memcpy(challenge.protocol, protocol, sizeof protocol);
  memcpy(challenge.nonce, randomBytes(nonceBytes).data(), nonceBytes);
  Answer answer;
  if (!socket.writeAll(&challenge, sizeof challenge, deadline) ||
      !socket.readAll(&answer, sizeof answer, deadline))
    return false;
  hello = answer.hello;
  bool known =
      equalDigests(answer.proof, prove("caller", secret, challenge.nonce, hello, answer.nonce));
  // A stranger gets a proof of nothing.
  Digest own = known ? prove("listener", secret, challenge.nonce, hello, answer.nonce) : Digest{};
  return socket.writeAll(&own, sizeof own, deadline) && known;
}

bool cleave::runtime::welcome(Socket &socket, uint32_t answer, const Deadline &deadline) {
  return socket.writeAll(&answer, sizeof answer, deadline);
}

Greeting cleave::runtime::greet(Socket &socket, const std::string &secret, Hello &hello,
                                const Deadline &deadline) {
  Challenge challenge;
  if (!socket.readAll(&challenge, sizeof challenge, deadline) ||
      memcmp(challenge.protocol, protocol, sizeof protocol))
    return Greeting::NoAnswer;
  Answer answer = {};
  answer.hello = hello;
  memcpy(answer.nonce, randomBytes(nonceBytes).data(), nonceBytes);
  answer.proof = prove("caller", secret, challenge.nonce, hello, answer.nonce);
  Digest theirs;
  if (!socket.writeAll(&answer, sizeof answer, deadline) ||
      !socket.readAll(&theirs, sizeof theirs, deadline))
    return Greeting::NoAnswer;
  if (!equalDigests(theirs, prove("listener", secret, challenge.nonce, hello, answer.nonce)))
    return Greeting::WrongSecret;
  uint32_t size;
  if (!socket.readAll(&size, sizeof size, deadline))
    return Greeting::NoAnswer;
  if (!size)
    return Greeting::Welcome;
  hello.size = size;
  return Greeting::WrongSize;
}

int32_t cleave::runtime::addressOfInterface(const char *name, Address &address,
                                            cleave_error *error) {
  ifaddrs *list = nullptr;
  bool found = false;
  if (!getifaddrs(&list))
    for (int family : {AF_INET, AF_INET6})
      for (ifaddrs *entry = list; entry && !found; entry = entry->ifa_next)
        if (entry->ifa_addr && entry->ifa_addr->sa_family == family &&
            (entry->ifa_flags & IFF_UP) && !strcmp(entry->ifa_name, name)) {
          address = toText(entry->ifa_addr);
          found = true;
        }
  freeifaddrs(list);
  address.port = 0;
  return found ? CLEAVE_OK
               : fail(error, CLEAVE_REFUSED,
                      "CLEAVE_INTERFACE names no network interface that is up, got: \"%.100s\"",
                      name);
}

std::string cleave::runtime::interfaceOf(const Address &address) {
  ifaddrs *list = nullptr;
  std::string name;
  if (!getifaddrs(&list))
    for (ifaddrs *entry = list; entry; entry = entry->ifa_next) {
      bool isNetwork = entry->ifa_addr && (entry->ifa_addr->sa_family == AF_INET ||
                                           entry->ifa_addr->sa_family == AF_INET6);
      if (isNetwork && !strcmp(toText(entry->ifa_addr).name, address.name))
        name = entry->ifa_name;
    }
  freeifaddrs(list);
  return name;
}

int32_t cleave::runtime::addressOfHost(const char *name, Address &address, cleave_error *error) {
  addrinfo hints = {}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int problem = getaddrinfo(name, nullptr, &hints, &list))
    return fail(error, CLEAVE_REFUSED, "the host \"%.200s\" is not known: %s", name,
                gai_strerror(problem));
  address = toText(list->ai_addr);
  freeaddrinfo(list);
  address.port = 0;
  return CLEAVE_OK;
}

Address cleave::runtime::ownAddress(const Socket &socket) {
  SocketAddress own;
  own.length = sizeof own.storage;
  getsockname(socket.get(), own.get(), &own.length);
  return toText(own.get());
}

std::string cleave::runtime::randomBytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t at = 0; at < count;) {
    ssize_t got = getrandom(bytes.data() + at, count - at, 0);
    at += got > 0 ? size_t(got) : 0;
  }
  return bytes;
}
