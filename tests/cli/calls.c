// Calls of a UDP program, one after the other, and what came of each: what it returned, errno, addresses, events, control messages.
//
// Run on the kernel and on ours, the output is to be the same (calls_test.py). Ports are shown by names of their own, so that the numbers do not matter.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_RECVERR_RFC4884
#define IP_RECVERR_RFC4884 26
#endif

static int known_ports[64], known_count;

static const char *port_name(int port) {
  static char names[8][16];
  static int turn;
  char *name = names[turn++ % 8];
  if (port == 0) return "0";
  for (int i = 0; i < known_count; ++i) {
    if (known_ports[i] == port) {
      snprintf(name, 16, "port%d", i);
      return name;
    }
  }
  if (known_count < 64) known_ports[known_count++] = port;
  snprintf(name, 16, "port%d", known_count - 1);
  return name;
}

// A port may come again in another section.
static void section(const char *title) {
  printf("== %s\n", title);
  known_count = 0;
}

static const char *show(const struct sockaddr_storage *a) {
  static char texts[8][96];
  static int turn;
  char *text = texts[turn++ % 8], ip[64];
  if (a->ss_family == AF_INET) {
    const struct sockaddr_in *in = (const void *)a;
    snprintf(text, 96, "%s:%s", inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip), port_name(ntohs(in->sin_port)));
  } else if (a->ss_family == AF_INET6) {
    const struct sockaddr_in6 *in = (const void *)a;
    snprintf(text, 96, "[%s]:%s", inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip), port_name(ntohs(in->sin6_port)));
  } else {
    snprintf(text, 96, "family %d", a->ss_family);
  }
  return text;
}

#define LINE(call)                                                                              \
  do {                                                                                          \
    errno = 0;                                                                                  \
    long r_ = (long)(call);                                                                     \
    int e_ = errno;                                                                             \
    printf("%s = %ld%s%s\n", #call, r_, r_ < 0 ? " " : "", r_ < 0 ? strerrorname_np(e_) : ""); \
  } while (0)

static struct sockaddr_in at(const char *ip, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  inet_pton(AF_INET, ip, &a.sin_addr);
  return a;
}
static struct sockaddr_in6 at6(const char *ip, int port) {
  struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port)};
  inet_pton(AF_INET6, ip, &a.sin6_addr);
  return a;
}
#define SA(x) ((struct sockaddr *)&(x)), sizeof(x)

static int port_of(int fd) {
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return -1;
  return ntohs(((struct sockaddr_in *)&a)->sin_port);
}
static void name_of(const char *what, int fd) {
  struct sockaddr_storage a = {0};
  socklen_t n = sizeof a;
  int r = getsockname(fd, (struct sockaddr *)&a, &n);
  printf("    %s local %d %s size %u", what, r, r == 0 ? show(&a) : strerrorname_np(errno), r == 0 ? n : 0);
  memset(&a, 0, sizeof a);
  n = sizeof a;
  r = getpeername(fd, (struct sockaddr *)&a, &n);
  printf(" peer %d %s\n", r, r == 0 ? show(&a) : strerrorname_np(errno));
}
static int bound(const char *ip) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in a = at(ip, 0);
  if (bind(fd, SA(a)) != 0) perror("bind");
  return fd;
}
// Until the descriptor shows one of the events, or half a second.
static int settle(int fd, short events) {
  struct pollfd p = {fd, events, 0};
  int n = poll(&p, 1, 500);
  printf("    poll %d events%s%s%s%s%s%s\n", n, p.revents & POLLIN ? " in" : "", p.revents & POLLOUT ? " out" : "", p.revents & POLLERR ? " err" : "",
         p.revents & POLLHUP ? " hup" : "", p.revents & POLLPRI ? " pri" : "", p.revents & POLLRDHUP ? " rdhup" : "");
  return n;
}
static void show_message(const char *what, int fd, int flags, size_t room, size_t control_room) {
  char data[70000], control[1024];
  struct sockaddr_storage from = {0};
  struct iovec piece = {data, room};
  struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_room};
  errno = 0;
  ssize_t n = recvmsg(fd, &m, flags);
  printf("    %s recvmsg %zd %s", what, n, n < 0 ? strerrorname_np(errno) : "");
  if (n >= 0) {
    printf("from %s namelen %u flags%s%s%s controllen %zu", m.msg_namelen ? show(&from) : "-", m.msg_namelen, m.msg_flags & MSG_TRUNC ? " trunc" : "", m.msg_flags & MSG_CTRUNC ? " ctrunc" : "",
           m.msg_flags & MSG_ERRQUEUE ? " errqueue" : "", m.msg_controllen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
      printf(" [%d/%d len %zu", c->cmsg_level, c->cmsg_type, c->cmsg_len);
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo i;
        char x[32], y[32];
        memcpy(&i, CMSG_DATA(c), sizeof i);
        printf(" if %d spec %s addr %s", i.ipi_ifindex, inet_ntop(AF_INET, &i.ipi_spec_dst, x, 32), inet_ntop(AF_INET, &i.ipi_addr, y, 32));
      }
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) printf(" ttl %d", *(int *)CMSG_DATA(c));
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) printf(" tos %d", *CMSG_DATA(c));
      if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
        struct sock_extended_err e;
        memcpy(&e, CMSG_DATA(c), sizeof e);
        struct sockaddr_storage o = {0};
        memcpy(&o, CMSG_DATA(c) + sizeof e, c->cmsg_len - CMSG_LEN(sizeof e) > sizeof o ? sizeof o : c->cmsg_len - CMSG_LEN(sizeof e));
        printf(" errno %s origin %d type %d code %d info %u offender %s", strerrorname_np((int)e.ee_errno), e.ee_origin, e.ee_type, e.ee_code, e.ee_info, show(&o));
      }
      if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo i;
        char x[64];
        memcpy(&i, CMSG_DATA(c), sizeof i);
        printf(" if %u addr %s", i.ipi6_ifindex, inet_ntop(AF_INET6, &i.ipi6_addr, x, 64));
      }
      printf("]");
    }
    if (n > 0 && n <= 32) printf(" \"%.*s\"", (int)(n < (ssize_t)room ? n : (ssize_t)room), data);
  }
  printf("\n");
}
static void option(const char *name, int fd, int level, int opt, int size) {
  unsigned char value[256] = {0};
  socklen_t n = (socklen_t)size;
  errno = 0;
  int r = getsockopt(fd, level, opt, value, &n);
  int number;
  memcpy(&number, value, 4);
  printf("    get %s %d %s size %u value %d\n", name, r, r < 0 ? strerrorname_np(errno) : "", r < 0 ? 0 : n, r < 0 ? 0 : n == 1 ? value[0] : number);
}
static void set(const char *name, int fd, int level, int opt, int value, int size) {
  errno = 0;
  int r = setsockopt(fd, level, opt, &value, (socklen_t)size);
  printf("    set %s %d (%d) %d %s\n", name, value, size, r, r < 0 ? strerrorname_np(errno) : "");
}
#define OPT(level, name) option(#name, s, level, name, 4), option(#name, s, level, name, 1)
#define SET(level, name, value) set(#name, s, level, name, value, 4)

static void fresh(void) {
  section("a fresh socket");
  int s = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
  name_of("fresh", s);
  OPT(SOL_SOCKET, SO_TYPE), OPT(SOL_SOCKET, SO_DOMAIN), OPT(SOL_SOCKET, SO_PROTOCOL), OPT(SOL_SOCKET, SO_ACCEPTCONN), OPT(SOL_SOCKET, SO_ERROR);
  OPT(SOL_SOCKET, SO_BROADCAST), OPT(SOL_SOCKET, SO_REUSEADDR), OPT(SOL_SOCKET, SO_REUSEPORT), OPT(SOL_SOCKET, SO_KEEPALIVE), OPT(SOL_SOCKET, SO_DONTROUTE);
  OPT(SOL_SOCKET, SO_RXQ_OVFL), OPT(SOL_SOCKET, SO_TIMESTAMP), OPT(SOL_SOCKET, SO_TIMESTAMPNS), OPT(SOL_SOCKET, SO_PRIORITY), OPT(SOL_SOCKET, SO_RCVLOWAT);
  OPT(SOL_SOCKET, SO_OOBINLINE), OPT(SOL_SOCKET, SO_NO_CHECK);
  OPT(IPPROTO_IP, IP_TTL), OPT(IPPROTO_IP, IP_TOS), OPT(IPPROTO_IP, IP_MTU_DISCOVER), OPT(IPPROTO_IP, IP_RECVERR), OPT(IPPROTO_IP, IP_PKTINFO);
  OPT(IPPROTO_IP, IP_RECVTTL), OPT(IPPROTO_IP, IP_RECVTOS), OPT(IPPROTO_IP, IP_MULTICAST_TTL), OPT(IPPROTO_IP, IP_MULTICAST_LOOP), OPT(IPPROTO_IP, IP_MULTICAST_ALL);
  OPT(IPPROTO_IP, IP_MTU), OPT(IPPROTO_IP, IP_FREEBIND), OPT(IPPROTO_IP, IP_RECVORIGDSTADDR), OPT(IPPROTO_IP, IP_HDRINCL), OPT(IPPROTO_IP, IP_RETOPTS), OPT(IPPROTO_IP, IP_RECVOPTS);
  OPT(IPPROTO_UDP, UDP_CORK), OPT(IPPROTO_UDP, UDP_SEGMENT), OPT(IPPROTO_UDP, UDP_GRO), OPT(IPPROTO_TCP, 1), OPT(SOL_SOCKET, 9999), OPT(IPPROTO_IP, 9999);
  char c;
  LINE(recv(s, &c, 1, MSG_DONTWAIT));
  LINE(send(s, "x", 1, 0));
  LINE(listen(s, 5));
  LINE(accept(s, NULL, NULL));
  LINE(shutdown(s, SHUT_RDWR));
  LINE(close(s));
  LINE(send(s, "x", 1, 0));
}

static void options(void) {
  section("options");
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  for (int round = 0; round < 2; ++round) {
    SET(SOL_SOCKET, SO_BROADCAST, 5), OPT(SOL_SOCKET, SO_BROADCAST);
    SET(SOL_SOCKET, SO_RCVBUF, 20000), OPT(SOL_SOCKET, SO_RCVBUF), SET(SOL_SOCKET, SO_RCVBUF, 1), OPT(SOL_SOCKET, SO_RCVBUF), SET(SOL_SOCKET, SO_RCVBUF, -1);
    SET(SOL_SOCKET, SO_SNDBUF, 20000), OPT(SOL_SOCKET, SO_SNDBUF), SET(SOL_SOCKET, SO_SNDBUF, 1), OPT(SOL_SOCKET, SO_SNDBUF);
    SET(SOL_SOCKET, SO_RCVBUF, 100000), SET(SOL_SOCKET, SO_SNDBUF, 100000);
    SET(IPPROTO_IP, IP_TTL, 0), SET(IPPROTO_IP, IP_TTL, 256), SET(IPPROTO_IP, IP_TTL, 33), OPT(IPPROTO_IP, IP_TTL), SET(IPPROTO_IP, IP_TTL, -1), OPT(IPPROTO_IP, IP_TTL);
    SET(IPPROTO_IP, IP_TOS, 0x2e << 2), OPT(IPPROTO_IP, IP_TOS), SET(IPPROTO_IP, IP_TOS, 256 + 8), OPT(IPPROTO_IP, IP_TOS), SET(IPPROTO_IP, IP_TOS, 0);
    SET(IPPROTO_IP, IP_MULTICAST_TTL, 300), SET(IPPROTO_IP, IP_MULTICAST_TTL, 3), OPT(IPPROTO_IP, IP_MULTICAST_TTL), SET(IPPROTO_IP, IP_MULTICAST_TTL, -1), OPT(IPPROTO_IP, IP_MULTICAST_TTL);
    set("ttl1", s, IPPROTO_IP, IP_MULTICAST_TTL, 7, 1), OPT(IPPROTO_IP, IP_MULTICAST_TTL), set("loop1", s, IPPROTO_IP, IP_MULTICAST_LOOP, 0, 1), OPT(IPPROTO_IP, IP_MULTICAST_LOOP);
    SET(IPPROTO_IP, IP_MTU_DISCOVER, 9), SET(IPPROTO_IP, IP_MTU_DISCOVER, -1), SET(IPPROTO_IP, IP_MTU_DISCOVER, 2), OPT(IPPROTO_IP, IP_MTU_DISCOVER), SET(IPPROTO_IP, IP_MTU_DISCOVER, 1);
    SET(IPPROTO_IP, IP_PKTINFO, 1), OPT(IPPROTO_IP, IP_PKTINFO), SET(IPPROTO_IP, IP_PKTINFO, 0);
    SET(IPPROTO_IP, IP_MTU, 1000), SET(SOL_SOCKET, SO_ERROR, 1), SET(SOL_SOCKET, SO_TYPE, 1), SET(IPPROTO_TCP, 1, 1), SET(SOL_SOCKET, 9999, 1), SET(IPPROTO_IP, 9999, 1);
    set("short", s, SOL_SOCKET, SO_BROADCAST, 1, 2), set("short", s, IPPROTO_UDP, UDP_SEGMENT, 1, 2), SET(IPPROTO_UDP, UDP_SEGMENT, 70000), SET(IPPROTO_UDP, UDP_SEGMENT, 1000), OPT(IPPROTO_UDP, UDP_SEGMENT), SET(IPPROTO_UDP, UDP_SEGMENT, 0);
    if (round == 0) {
      struct sockaddr_in a = at("127.0.0.1", 0);
      LINE(bind(s, SA(a)));
    }
  }
  struct timeval t = {0, 20000};
  LINE(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
  char c;
  LINE(recv(s, &c, 1, 0));
  t.tv_usec = 2000000;
  LINE(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
  close(s);
}

static void binding(void) {
  section("binding");
  int s = socket(AF_INET, SOCK_DGRAM, 0), t = socket(AF_INET, SOCK_DGRAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in a = at("127.0.0.1", 0), far = at("192.0.2.77", 0), un = {.sin_family = AF_UNSPEC}, un2 = at("127.0.0.1", 0), odd = at("127.0.0.1", 0);
  un2.sin_family = AF_UNSPEC;
  odd.sin_family = AF_UNIX;
  LINE(bind(s, (struct sockaddr *)&a, 8));
  LINE(bind(s, SA(odd)));
  LINE(bind(s, SA(un2)));
  LINE(bind(s, SA(far)));
  LINE(bind(u, SA(un)));
  LINE(bind(s, SA(a)));
  LINE(bind(s, SA(a)));
  name_of("bound", s);
  a.sin_port = htons((unsigned short)port_of(s));
  LINE(bind(t, SA(a)));
  int one = 1;
  setsockopt(t, SOL_SOCKET, SO_REUSEADDR, &one, 4);
  LINE(bind(t, SA(a)));
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, 4);
  LINE(bind(t, SA(a)));
  name_of("shared", t);
  close(s), close(t), close(u);
  s = socket(AF_INET, SOCK_DGRAM, 0);
  t = bound("127.0.0.1");
  struct sockaddr_in to = at("127.0.0.1", port_of(t));
  LINE(sendto(s, "hi", 2, 0, SA(to)));
  struct sockaddr_in mine;
  socklen_t n = sizeof mine;
  getsockname(s, (struct sockaddr *)&mine, &n);
  printf("    sendto bound it: %d %s\n", mine.sin_port != 0, inet_ntoa(mine.sin_addr));
  LINE(bind(s, SA(far)));
  a = at("127.0.0.1", 0);
  LINE(bind(s, SA(a)));
  settle(t, POLLIN);
  show_message("hi", t, 0, 100, 100);
  close(s), close(t);
}

static void connecting(void) {
  section("connecting");
  int server = bound("127.0.0.1"), s = socket(AF_INET, SOCK_DGRAM, 0), other = bound("127.0.0.1");
  struct sockaddr_in to = at("127.0.0.1", port_of(server)), zero = at("127.0.0.1", 0), un = {.sin_family = AF_UNSPEC}, any = at("0.0.0.0", port_of(server));
  name_of("server", server);
  LINE(connect(s, (struct sockaddr *)&to, 8));
  LINE(connect(s, SA(to)));
  struct sockaddr_in mine;
  socklen_t n = sizeof mine;
  getsockname(s, (struct sockaddr *)&mine, &n);
  name_of("connected", s);
  LINE(send(s, "one", 3, 0));
  LINE(sendto(s, "two", 3, 0, SA(to)));
  LINE(write(s, "three", 5));
  LINE(send(s, "", 0, 0));
  for (int i = 0; i < 4; ++i) settle(server, POLLIN), show_message("server", server, 0, 100, 100);
  LINE(sendto(other, "stranger", 8, 0, SA(mine)));
  LINE(sendto(server, "friend", 6, 0, SA(mine)));
  settle(s, POLLIN);
  show_message("filtered", s, 0, 100, 0);
  char c[4];
  LINE(recv(s, c, 4, MSG_DONTWAIT));
  LINE(connect(s, SA(any)));
  name_of("any", s);
  LINE(connect(s, SA(un)));
  name_of("disconnected", s);
  LINE(send(s, "x", 1, 0));
  LINE(sendto(s, "x", 1, 0, SA(zero)));
  close(s), close(server), close(other);
}

static void receiving(void) {
  section("receiving");
  int server = bound("127.0.0.1"), s = bound("127.0.0.1");
  struct sockaddr_in to = at("127.0.0.1", port_of(server));
  name_of("server", server), name_of("client", s);
  char c[64];
  LINE(recv(server, c, 64, MSG_DONTWAIT));
  LINE(sendto(s, "truncated", 9, 0, SA(to)));
  settle(server, POLLIN);
  LINE(recv(server, c, 4, MSG_PEEK));
  LINE(recv(server, c, 4, MSG_PEEK | MSG_TRUNC));
  int pending = -1;
  LINE(ioctl(server, FIONREAD, &pending));
  printf("    pending %d\n", pending);
  show_message("short", server, 0, 4, 0);
  LINE(recv(server, c, 4, MSG_DONTWAIT));
  LINE(sendto(s, "truncated", 9, 0, SA(to)));
  settle(server, POLLIN);
  LINE(recv(server, c, 4, MSG_TRUNC));
  LINE(sendto(s, "", 0, 0, SA(to)));
  settle(server, POLLIN);
  LINE(ioctl(server, FIONREAD, &pending));
  printf("    pending %d\n", pending);
  LINE(recv(server, c, 64, MSG_WAITALL));
  LINE(sendto(s, "pieces", 6, 0, SA(to)));
  settle(server, POLLIN);
  char x[2], y[10];
  struct iovec v[2] = {{x, 2}, {y, 10}};
  LINE(readv(server, v, 2));
  printf("    %.2s|%.4s\n", x, y);
  LINE(writev(s, v, 2));
  struct iovec w[3] = {{"a", 1}, {"", 0}, {"bc", 2}};
  struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = w, .msg_iovlen = 3};
  LINE(sendmsg(s, &m, 0));
  settle(server, POLLIN);
  LINE(read(server, c, 64));
  printf("    %.3s\n", c);
  m.msg_iovlen = 0;
  LINE(sendmsg(s, &m, 0));
  settle(server, POLLIN);
  LINE(recv(server, NULL, 0, 0));
  static char big[70000];
  LINE(sendto(s, big, 65507, 0, SA(to)));
  settle(server, POLLIN);
  LINE(recv(server, big, sizeof big, 0));
  LINE(sendto(s, big, 65508, 0, SA(to)));
  LINE(sendto(s, "x", 1, MSG_OOB, SA(to)));
  LINE(sendto(s, "x", 1, MSG_DONTROUTE, SA(to)));
  LINE(sendto(s, "x", 1, MSG_CONFIRM | MSG_NOSIGNAL, SA(to)));
  LINE(sendto(s, "x", 1, 0, (struct sockaddr *)&to, 7));
  LINE(recv(server, c, 64, 0));
  LINE(recv(server, c, 64, 0));
  LINE(recv(server, c, 64, MSG_ERRQUEUE));
  LINE(recv(server, c, 64, MSG_OOB | MSG_DONTWAIT));
  close(s), close(server);
}

static void many(void) {
  section("batches");
  int server = bound("127.0.0.1"), s = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = at("127.0.0.1", port_of(server));
  connect(s, SA(to));
  struct mmsghdr out[5] = {0}, in[8] = {0};
  struct iovec vo[5], vi[8];
  static char room[8][16];
  for (int i = 0; i < 5; ++i) {
    vo[i] = (struct iovec){"0123456789", (size_t)i * 2};
    out[i].msg_hdr.msg_iov = &vo[i], out[i].msg_hdr.msg_iovlen = 1;
  }
  for (int i = 0; i < 8; ++i) {
    vi[i] = (struct iovec){room[i], 6};
    in[i].msg_hdr.msg_iov = &vi[i], in[i].msg_hdr.msg_iovlen = 1;
  }
  LINE(recvmmsg(server, in, 8, MSG_DONTWAIT, NULL));
  LINE(sendmmsg(s, out, 5, 0));
  for (int i = 0; i < 5; ++i) printf("    sent %u\n", out[i].msg_len);
  usleep(50000);
  LINE(recvmmsg(server, in, 3, MSG_WAITFORONE, NULL));
  struct timespec t = {0, 1};
  LINE(recvmmsg(server, in + 3, 2, 0, &t));
  for (int i = 0; i < 5; ++i) printf("    got %u flags %d\n", in[i].msg_len, in[i].msg_hdr.msg_flags);
  LINE(recvmmsg(server, in + 3, 5, MSG_DONTWAIT, NULL));
  LINE(sendmmsg(s, out, 0, 0));
  close(s), close(server);
}

static void ancillary(void) {
  section("ancillary data");
  int server = bound("0.0.0.0"), s = bound("127.0.0.1");
  name_of("server", server), name_of("client", s);
  struct sockaddr_in to = at("127.0.0.1", port_of(server));
  int one = 1;
  setsockopt(server, IPPROTO_IP, IP_PKTINFO, &one, 4), setsockopt(server, IPPROTO_IP, IP_RECVTTL, &one, 4), setsockopt(server, IPPROTO_IP, IP_RECVTOS, &one, 4);
  setsockopt(server, SOL_SOCKET, SO_TIMESTAMP, &one, 4);
  LINE(sendto(s, "x", 1, 0, SA(to)));
  settle(server, POLLIN);
  show_message("all", server, 0, 10, 500);
  setsockopt(server, SOL_SOCKET, SO_TIMESTAMPNS, &one, 4);
  char control[200];
  memset(control, 0, sizeof control);
  struct iovec v = {"y", 1};
  struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(4) * 2};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_TTL, c->cmsg_len = CMSG_LEN(4), *(int *)CMSG_DATA(c) = 7;
  c = CMSG_NXTHDR(&m, c);
  c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_TOS, c->cmsg_len = CMSG_LEN(4), *(int *)CMSG_DATA(c) = 0x28;
  LINE(sendmsg(s, &m, 0));
  settle(server, POLLIN);
  show_message("chosen", server, 0, 10, 500);
  *(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)) = 0;
  LINE(sendmsg(s, &m, 0));
  c->cmsg_type = 200;
  *(int *)CMSG_DATA(CMSG_FIRSTHDR(&m)) = 9;
  LINE(sendmsg(s, &m, 0));
  c->cmsg_level = 4711, c->cmsg_type = IP_TOS;
  LINE(sendmsg(s, &m, 0));
  settle(server, POLLIN);
  show_message("little room", server, 0, 10, 40);
  m.msg_controllen = 10;
  LINE(sendmsg(s, &m, 0));
  settle(server, POLLIN);
  show_message("no room", server, 0, 10, 0);
  m.msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
  c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_PKTINFO, c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
  struct in_pktinfo info = {0};
  inet_pton(AF_INET, "127.0.0.5", &info.ipi_spec_dst);
  memcpy(CMSG_DATA(c), &info, sizeof info);
  close(s);
  s = bound("0.0.0.0");
  name_of("client", s);
  LINE(sendmsg(s, &m, 0));
  settle(server, POLLIN);
  show_message("source", server, 0, 10, 500);
  close(s), close(server);
}

static void errors(void) {
  section("errors");
  int s = bound("127.0.0.1"), gone = bound("127.0.0.1"), alive = bound("127.0.0.1");
  name_of("client", s), name_of("gone", gone), name_of("alive", alive);
  struct sockaddr_in to = at("127.0.0.1", port_of(gone)), un = {.sin_family = AF_UNSPEC};
  close(gone);
  char c[16];
  LINE(sendto(s, "x", 1, 0, SA(to)));
  usleep(50000);
  LINE(recv(s, c, 16, MSG_DONTWAIT));
  LINE(connect(s, SA(to)));
  LINE(send(s, "x", 1, 0));
  usleep(50000);
  settle(s, POLLIN);
  settle(s, POLLIN | POLLOUT);
  LINE(recv(s, c, 16, MSG_DONTWAIT));
  LINE(recv(s, c, 16, MSG_DONTWAIT));
  LINE(send(s, "x", 1, 0));
  usleep(50000);
  LINE(send(s, "x", 1, 0));
  usleep(50000);
  option("SO_ERROR", s, SOL_SOCKET, SO_ERROR, 4);
  option("SO_ERROR", s, SOL_SOCKET, SO_ERROR, 4);
  int ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.u64 = 0x1234567890};
  LINE(epoll_ctl(ep, EPOLL_CTL_ADD, s, &e));
  LINE(send(s, "x", 1, 0));
  memset(&e, 0, sizeof e);
  LINE(epoll_wait(ep, &e, 1, 500));
  printf("    epoll events %x data %lx\n", e.events, (long)e.data.u64);
  fd_set in, out;
  FD_ZERO(&in);
  FD_SET(s, &in);
  FD_ZERO(&out);
  FD_SET(s, &out);
  struct timeval t = {0, 0};
  LINE(select(s + 1, &in, &out, NULL, &t));
  printf("    in %d out %d\n", !!FD_ISSET(s, &in), !!FD_ISSET(s, &out));
  option("SO_ERROR", s, SOL_SOCKET, SO_ERROR, 4);
  LINE(epoll_wait(ep, &e, 1, 0));
  int one = 1;
  LINE(connect(s, SA(un)));
  setsockopt(s, IPPROTO_IP, IP_RECVERR, &one, 4);
  LINE(sendto(s, "queued", 6, 0, SA(to)));
  usleep(50000);
  settle(s, POLLIN);
  show_message("errqueue", s, MSG_ERRQUEUE, 100, 500);
  show_message("errqueue", s, MSG_ERRQUEUE, 100, 500);
  settle(s, POLLOUT);
  LINE(recv(s, c, 16, MSG_DONTWAIT));
  LINE(sendto(s, "queued", 6, 0, SA(to)));
  usleep(50000);
  LINE(recv(s, c, 16, MSG_DONTWAIT));
  settle(s, POLLOUT);
  show_message("errqueue", s, MSG_ERRQUEUE, 3, 60);
  settle(s, POLLOUT);
  struct sockaddr_in live = at("127.0.0.1", port_of(alive)), bc = at("127.255.255.255", port_of(alive)), v6 = live;
  v6.sin_family = AF_INET6;
  LINE(sendto(s, "x", 1, 0, SA(bc)));
  LINE(sendto(s, "x", 1, 0, SA(v6)));
  LINE(sendto(s, "x", 1, 0, SA(live)));
  close(s), close(alive), close(ep);
}

static void waiting(void) {
  section("waiting");
  int server = bound("127.0.0.1"), s = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = at("127.0.0.1", port_of(server));
  connect(s, SA(to));
  settle(s, POLLIN | POLLOUT);
  settle(s, POLLOUT);
  int ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = server}, got[4];
  LINE(epoll_ctl(ep, EPOLL_CTL_ADD, server, &e));
  LINE(epoll_wait(ep, got, 4, 0));
  char c[16];
  LINE(send(s, "edge", 4, 0));
  LINE(send(s, "edge", 4, 0));
  usleep(50000);
  for (int i = 0; i < 3; ++i) {
    LINE(epoll_wait(ep, got, 4, 500));
    LINE(epoll_wait(ep, got, 4, 0));
    LINE(recv(server, c, 16, 0));
    LINE(send(s, "edge", 4, 0));
  }
  LINE(epoll_wait(ep, got, 4, 500));
  LINE(recv(server, c, 16, MSG_DONTWAIT));
  LINE(recv(server, c, 16, MSG_DONTWAIT));
  LINE(recv(server, c, 16, MSG_DONTWAIT));
  LINE(recv(server, c, 16, MSG_DONTWAIT));
  e.events = EPOLLIN | EPOLLONESHOT;
  LINE(epoll_ctl(ep, EPOLL_CTL_MOD, server, &e));
  send(s, "shot", 4, 0);
  LINE(epoll_wait(ep, got, 4, 500));
  LINE(epoll_wait(ep, got, 4, 0));
  LINE(epoll_ctl(ep, EPOLL_CTL_MOD, server, &e));
  LINE(epoll_wait(ep, got, 4, 500));
  LINE(epoll_ctl(ep, EPOLL_CTL_DEL, server, NULL));
  LINE(recv(server, c, 16, MSG_DONTWAIT));
  fcntl(server, F_SETFL, O_NONBLOCK);
  LINE(recv(server, c, 16, 0));
  fcntl(server, F_SETFL, 0);
  int flag = 1;
  ioctl(server, FIONBIO, &flag);
  LINE(recv(server, c, 16, 0));
  LINE(shutdown(server, SHUT_RD));
  settle(server, POLLIN | POLLOUT | POLLRDHUP);
  LINE(recv(server, c, 16, 0));
  LINE(shutdown(s, SHUT_WR));
  LINE(send(s, "x", 1, MSG_NOSIGNAL));
  settle(s, POLLIN | POLLOUT | POLLRDHUP);
  LINE(shutdown(s, 9));
  LINE(shutdown(s, SHUT_RDWR));
  settle(s, POLLIN | POLLOUT | POLLRDHUP);
  LINE(recv(s, c, 16, 0));
  close(s), close(server), close(ep);
}

static volatile int signals;
static void on_signal(int n) { signals += n != 0; }

static void interrupting(void) {
  section("interrupting");
  int s = bound("127.0.0.1");
  char c;
  struct sigaction a = {.sa_handler = on_signal};
  struct itimerval t = {.it_value = {0, 50000}};
  for (int restart = 0; restart < 2; ++restart) {
    a.sa_flags = restart ? SA_RESTART : 0;
    sigaction(SIGALRM, &a, NULL);
    struct timeval limit = {0, 200000};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, restart ? sizeof limit : 0);
    setitimer(ITIMER_REAL, &t, NULL);
    LINE(recv(s, &c, 1, 0));
    printf("    signals %d\n", signals);
  }
  struct pollfd p = {s, POLLIN, 0};
  setitimer(ITIMER_REAL, &t, NULL);
  LINE(poll(&p, 1, 500));
  close(s);
}

static void copying(void) {
  section("descriptors");
  int server = bound("127.0.0.1"), s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  name_of("server", server);
  printf("    flags %d %d\n", fcntl(s, F_GETFD), (fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
  struct sockaddr_in to = at("127.0.0.1", port_of(server));
  connect(s, SA(to));
  int d = dup(s), e = fcntl(s, F_DUPFD, 100), f = dup2(s, 200), g = dup3(s, 201, O_CLOEXEC);
  close(s);
  LINE(send(d, "d", 1, 0));
  LINE(send(e, "e", 1, 0));
  LINE(send(f, "f", 1, 0));
  LINE(send(g, "g", 1, 0));
  LINE(send(s, "s", 1, 0));
  char c[16];
  for (int i = 0; i < 4; ++i) {
    settle(server, POLLIN);
    LINE(recv(server, c, 16, MSG_DONTWAIT));
    printf("    %c\n", c[0]);
  }
  LINE(close_range(200, 201, 0));
  LINE(send(f, "f", 1, 0));
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    _exit(send(d, "child", 5, 0) == 5 ? 0 : 1);
  }
  int status = 0;
  fcntl(d, F_SETFL, 0);
  settle(server, POLLIN);
  struct sockaddr_in from;
  socklen_t n = sizeof from;
  LINE(recvfrom(server, c, 16, 0, (struct sockaddr *)&from, &n));
  waitpid(child, &status, 0);
  printf("    child %d\n", WEXITSTATUS(status) == 0);
  fflush(stdout);
  child = fork();
  if (child == 0) {
    _exit(recv(d, c, 16, 0) == 6 ? 0 : 1);
  }
  usleep(50000);
  LINE(sendto(server, "answer", 6, 0, SA(from)));
  waitpid(child, &status, 0);
  printf("    child received %d\n", WEXITSTATUS(status) == 0);
  LINE(send(d, "parent", 6, 0));
  settle(server, POLLIN);
  LINE(recv(server, c, 16, 0));
  close(d), close(e);
  LINE(send(d, "d", 1, 0));
  int file = open("/dev/null", O_RDWR);
  LINE(dup2(file, server));
  LINE(send(server, "x", 1, 0));
  LINE(write(server, "x", 1));
  close(file), close(server);
}

static void groups(void) {
  section("groups");
  int s = socket(AF_INET, SOCK_DGRAM, 0), t = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in any = at("0.0.0.0", 0), group = at("239.1.2.3", 0);
  LINE(bind(s, SA(any)));
  group.sin_port = htons((unsigned short)port_of(s));
  name_of("member", s);
  struct ip_mreq join = {{group.sin_addr.s_addr}, {htonl(INADDR_LOOPBACK)}};
  struct ip_mreqn joinn = {{group.sin_addr.s_addr}, {0}, 1};
  struct in_addr lo = {htonl(INADDR_LOOPBACK)}, unknown = {htonl(0xc000024d)};
  LINE(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
  LINE(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &joinn, sizeof joinn));
  LINE(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, 4));
  LINE(setsockopt(t, IPPROTO_IP, IP_MULTICAST_IF, &unknown, sizeof unknown));
  LINE(setsockopt(t, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo));
  struct in_addr shown = {0};
  socklen_t n = sizeof shown;
  LINE(getsockopt(t, IPPROTO_IP, IP_MULTICAST_IF, &shown, &n));
  printf("    %s %u\n", inet_ntoa(shown), n);
  LINE(sendto(t, "to the group", 12, 0, SA(group)));
  settle(s, POLLIN);
  char c[32];
  LINE(recv(s, c, 32, MSG_DONTWAIT));
  int zero = 0;
  LINE(setsockopt(t, IPPROTO_IP, IP_MULTICAST_LOOP, &zero, 4));
  LINE(sendto(t, "to others", 9, 0, SA(group)));
  usleep(20000);
  LINE(recv(s, c, 32, MSG_DONTWAIT));
  LINE(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
  LINE(setsockopt(s, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
  struct ip_mreq bad = {{htonl(0x0a000001)}, {htonl(INADDR_LOOPBACK)}};
  LINE(setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &bad, sizeof bad));
  struct group_req gr = {.gr_interface = 1};
  memcpy(&gr.gr_group, &group, sizeof group);
  LINE(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &gr, sizeof gr));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &gr, sizeof gr));
  struct group_source_req gs = {.gsr_interface = 1};
  memcpy(&gs.gsr_group, &group, sizeof group);
  struct sockaddr_in source = at("127.0.0.9", 0);
  memcpy(&gs.gsr_source, &source, sizeof source);
  LINE(setsockopt(s, IPPROTO_IP, MCAST_BLOCK_SOURCE, &gs, sizeof gs));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_BLOCK_SOURCE, &gs, sizeof gs));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_UNBLOCK_SOURCE, &gs, sizeof gs));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &gs, sizeof gs));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_GROUP, &gr, sizeof gr));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, &gs, sizeof gs));
  LINE(setsockopt(s, IPPROTO_IP, MCAST_LEAVE_SOURCE_GROUP, &gs, sizeof gs));
  struct ip_mreq_source ms = {.imr_multiaddr = group.sin_addr, .imr_interface = lo, .imr_sourceaddr = source.sin_addr};
  LINE(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &ms, sizeof ms));
  LINE(setsockopt(s, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &ms, sizeof ms));
  LINE(sendto(t, "wrong source", 12, 0, SA(group)));
  usleep(20000);
  LINE(recv(s, c, 32, MSG_DONTWAIT));
  LINE(setsockopt(s, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &ms, sizeof ms));
  gr.gr_interface = 31000;
  LINE(setsockopt(s, IPPROTO_IP, MCAST_JOIN_GROUP, &gr, sizeof gr));
  LINE(setsockopt(s, IPPROTO_IP, IP_UNBLOCK_SOURCE, &ms, 4));
  close(s), close(t);
}

static void inet6(void) {
  section("v4 through AF_INET6");
  int s = socket(AF_INET6, SOCK_DGRAM, 0), t = bound("127.0.0.1"), u = socket(AF_INET6, SOCK_DGRAM, 0), zero = 0, one = 1;
  setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &zero, 4), setsockopt(u, IPPROTO_IPV6, IPV6_V6ONLY, &zero, 4);
  OPT(SOL_SOCKET, SO_DOMAIN), OPT(SOL_SOCKET, SO_TYPE), OPT(SOL_SOCKET, SO_PROTOCOL), OPT(IPPROTO_IPV6, IPV6_V6ONLY);
  name_of("fresh", s);
  struct sockaddr_in6 any = at6("::", 0), mapped = at6("::ffff:127.0.0.1", 0), mapped_any = at6("::ffff:0.0.0.0", 0), far = at6("::ffff:192.0.2.77", 0);
  struct sockaddr_in v4 = at("127.0.0.1", 0);
  LINE(bind(s, SA(v4)));
  LINE(bind(s, (struct sockaddr *)&any, 16));
  LINE(bind(s, SA(far)));
  LINE(bind(s, SA(any)));
  int port = port_of(s);
  name_of("wildcard", s);
  LINE(setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &one, 4));
  struct sockaddr_in to = at("127.0.0.1", port), back = at("127.0.0.1", port_of(t));
  name_of("v4 client", t);
  LINE(sendto(t, "from v4", 7, 0, SA(to)));
  settle(s, POLLIN);
  show_message("dual", s, 0, 100, 500);
  LINE(setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, 4));
  LINE(sendto(t, "from v4", 7, 0, SA(to)));
  settle(s, POLLIN);
  show_message("dual", s, 0, 100, 500);
  struct sockaddr_in6 back6 = at6("::ffff:127.0.0.1", port_of(t));
  LINE(sendto(s, "to v4", 5, 0, SA(back6)));
  settle(t, POLLIN);
  show_message("v4", t, 0, 100, 0);
  LINE(sendto(s, "to v4", 5, 0, SA(back)));
  settle(t, POLLIN);
  show_message("v4", t, 0, 100, 0);
  LINE(connect(s, SA(back6)));
  name_of("connected", s);
  LINE(send(s, "connected", 9, 0));
  settle(t, POLLIN);
  show_message("v4", t, 0, 100, 0);
  LINE(bind(u, SA(mapped)));
  name_of("mapped", u);
  close(u);
  u = socket(AF_INET6, SOCK_DGRAM, 0);
  LINE(bind(u, SA(mapped_any)));
  name_of("mapped any", u);
  close(u);
  u = socket(AF_INET6, SOCK_DGRAM, 0);
  LINE(setsockopt(u, IPPROTO_IPV6, IPV6_V6ONLY, &one, 4));
  LINE(bind(u, SA(mapped)));
  LINE(sendto(u, "x", 1, 0, SA(back6)));
  LINE(connect(u, SA(back6)));
  close(s), close(t), close(u);
}

static void numbers(void) {
  section("calls by number");
  int server = bound("127.0.0.1");
  long s = syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = at("127.0.0.1", port_of(server));
  name_of("server", server);
  LINE(syscall(SYS_sendto, s, "number", 6, 0, &to, sizeof to));
  settle(server, POLLIN);
  char c[16];
  LINE(syscall(SYS_recvfrom, server, c, 16, 0, NULL, NULL));
  LINE(syscall(SYS_close, s));
  LINE(syscall(SYS_sendto, s, "number", 6, 0, &to, sizeof to));
  LINE(syscall(SYS_close, server));
  struct ifconf conf = {0};
  int u = bound("127.0.0.1");
  struct ifreq lo = {0};
  strcpy(lo.ifr_name, "lo");
  LINE(ioctl(u, SIOCGIFFLAGS, &lo));
  LINE(ioctl(u, SIOCGIFCONF, &conf));
  LINE(ioctl(u, SIOCGIFINDEX, &lo));
  strcpy(lo.ifr_name, "nosuch");
  LINE(ioctl(u, SIOCGIFINDEX, &lo));
  LINE(ioctl(u, 0x12345, &lo));
  LINE(fcntl(u, F_GETFL) & O_ACCMODE);
  LINE(lseek(u, 0, SEEK_SET));
  close(u);
}

// Each on a socket that nobody has waited for before.
static void waits_by_number(void) {
  section("waits by number");
  for (int which = 0; which < 4; ++which) {
    int server = bound("127.0.0.1"), s = socket(AF_INET, SOCK_DGRAM, 0), ep = epoll_create1(0);
    struct sockaddr_in to = at("127.0.0.1", port_of(server));
    struct timespec patience = {5, 0};
    struct pollfd p = {server, POLLIN, 0};
    struct epoll_event e = {.events = EPOLLIN}, got = {0};
    fd_set in;
    FD_ZERO(&in);
    FD_SET(server, &in);
    if (which >= 2) epoll_ctl(ep, EPOLL_CTL_ADD, server, &e);
    sendto(s, "x", 1, 0, SA(to));
    if (which == 0) LINE(syscall(SYS_ppoll, &p, 1, &patience, NULL, 8));
    if (which == 1) LINE(syscall(SYS_pselect6, server + 1, &in, NULL, NULL, &patience, NULL));
    if (which == 2) LINE(syscall(SYS_epoll_pwait, ep, &got, 1, 5000, NULL, 8));
    if (which == 3) LINE(syscall(SYS_epoll_pwait2, ep, &got, 1, &patience, NULL, 8));
    printf("    revents %x, set %d, events %x\n", p.revents, FD_ISSET(server, &in) != 0, got.events);
    close(ep), close(server);
    LINE(connect(s, SA(to)));
    LINE(send(s, "x", 1, 0));
    settle(s, 0);
    p.fd = s, p.events = 0;
    LINE(syscall(SYS_ppoll, &p, 1, &patience, NULL, 8));
    printf("    revents %x\n", p.revents);
    close(s);
  }
}

// Datagrams that are put together from several calls.
static void set_cork(int fd, int on) { printf("    cork %d: %d\n", on, setsockopt(fd, IPPROTO_UDP, UDP_CORK, &on, sizeof on)); }

static void corking(void) {
  section("corking");
  int server = bound("127.0.0.1"), other = bound("127.0.0.1"), s = bound("127.0.0.1");
  name_of("server", server), name_of("other", other), name_of("client", s);
  struct sockaddr_in to = at("127.0.0.1", port_of(server)), elsewhere = at("127.0.0.1", port_of(other)), zero = at("127.0.0.1", 0);
  static char big[70000];
  struct sockaddr_in6 odd = at6("::1", 9);
  LINE(send(s, "x", 1, MSG_MORE));
  LINE(sendto(s, "one ", 4, MSG_MORE, SA(to)));
  LINE(sendto(s, "two ", 4, MSG_MORE, SA(elsewhere)));
  LINE(sendto(s, "bad", 3, MSG_MORE, SA(zero)));
  LINE(sendto(s, "bad", 3, MSG_MORE, SA(odd)));
  LINE(sendto(s, "bad", 3, MSG_OOB | MSG_MORE, SA(elsewhere)));
  LINE(send(s, "", 0, MSG_MORE));
  LINE(recv(server, big, 100, MSG_DONTWAIT));
  LINE(send(s, "three", 5, 0));
  settle(server, POLLIN);
  show_message("together", server, MSG_DONTWAIT, 100, 0);
  LINE(recv(other, big, 100, MSG_DONTWAIT));
  LINE(connect(s, SA(to)));
  struct iovec pieces[3] = {{"a", 1}, {"", 0}, {"bc", 2}};
  struct msghdr m = {.msg_iov = pieces, .msg_iovlen = 3};
  LINE(sendmsg(s, &m, MSG_MORE));
  LINE(connect(s, SA(elsewhere)));
  LINE(write(s, "d", 1));
  settle(other, POLLIN);
  show_message("to its new peer", other, MSG_DONTWAIT, 100, 0);
  set_cork(s, 5);
  option("UDP_CORK", s, IPPROTO_UDP, UDP_CORK, 4);
  LINE(send(s, "kept", 4, 0));
  LINE(send(s, " back", 5, MSG_MORE));
  LINE(recv(other, big, 100, MSG_DONTWAIT));
  set_cork(s, 1);
  set_cork(s, 0);
  settle(other, POLLIN);
  show_message("uncorked", other, MSG_DONTWAIT, 100, 0);
  set_cork(s, 0);
  option("UDP_CORK", s, IPPROTO_UDP, UDP_CORK, 4);
  set_cork(s, 1);
  LINE(send(s, "", 0, 0));
  set_cork(s, 0);
  settle(other, POLLIN);
  show_message("empty", other, MSG_DONTWAIT, 100, 0);
  LINE(send(s, big, 60000, MSG_MORE));
  LINE(send(s, big, 6000, MSG_MORE));
  LINE(send(s, big, 5507, MSG_MORE));
  LINE(send(s, big, 1, 0));
  LINE(send(s, "", 0, 0));
  settle(other, POLLIN);
  LINE(recv(other, big, sizeof big, MSG_DONTWAIT));
  settle(other, POLLIN);
  LINE(recv(other, big, sizeof big, MSG_DONTWAIT));
  LINE(send(s, big, 65508, MSG_MORE));
  int one = 1;
  setsockopt(other, IPPROTO_IP, IP_RECVTTL, &one, sizeof one);
  LINE(send(s, "before ", 7, MSG_MORE));
  SET(IPPROTO_IP, IP_TTL, 9);
  LINE(send(s, "the TTL", 7, 0));
  settle(other, POLLIN);
  show_message("TTL of the first", other, MSG_DONTWAIT, 100, 100);
  struct mmsghdr both[2] = {{.msg_hdr = {.msg_iov = pieces, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = pieces + 2, .msg_iovlen = 1}}};
  LINE(sendmmsg(s, both, 2, MSG_MORE));
  LINE(send(s, "!", 1, 0));
  settle(other, POLLIN);
  show_message("a batch", other, MSG_DONTWAIT, 100, 100);
  LINE(send(s, "never sent", 10, MSG_MORE));
  LINE(shutdown(s, SHUT_WR));
  LINE(send(s, "x", 1, 0));
  set_cork(s, 1);
  set_cork(s, 0);
  settle(other, POLLIN);
  show_message("after shutdown", other, MSG_DONTWAIT, 100, 0);
  close(s), close(server), close(other);
}

// Who waits in a thread, and what it is told.
struct Sleeper {
  int fd;
  long got;
  int code;
};
static void *sleep_in_recv(void *of) {
  struct Sleeper *sleeper = of;
  char c;
  sleeper->got = recv(sleeper->fd, &c, 1, 0);
  sleeper->code = errno;
  return NULL;
}
static void *sleep_in_poll(void *of) {
  struct Sleeper *sleeper = of;
  struct pollfd p = {sleeper->fd, POLLIN | POLLRDHUP, 0};
  sleeper->got = poll(&p, 1, 600);
  sleeper->code = p.revents;
  return NULL;
}

static void show_ready(const char *what, int fd) {
  printf("  %s\n", what);
  settle(fd, POLLIN | POLLOUT | POLLRDHUP);
  settle(fd, 0);
  int ep = epoll_create1(0), edge = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP}, got = {0};
  epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
  e.events |= EPOLLET;
  epoll_ctl(edge, EPOLL_CTL_ADD, fd, &e);
  int n = epoll_wait(ep, &got, 1, 0);
  printf("    epoll %d %x", n, n > 0 ? got.events : 0);
  n = epoll_wait(edge, &got, 1, 0);
  printf(" edge %d %x\n", n, n > 0 ? got.events : 0);
  close(ep), close(edge);
  fd_set in, out, odd;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_ZERO(&odd);
  FD_SET(fd, &in);
  FD_SET(fd, &out);
  FD_SET(fd, &odd);
  struct timeval t = {0, 0};
  n = select(fd + 1, &in, &out, &odd, &t);
  printf("    select %d in %d out %d odd %d\n", n, !!FD_ISSET(fd, &in), !!FD_ISSET(fd, &out), !!FD_ISSET(fd, &odd));
}

static void shutting(void) {
  section("shutting down");
  static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
  for (int i = 0; i < 6; ++i) {
    const int how = ways[i % 3], connected = i >= 3;
    known_count = 0;
    int s = bound("127.0.0.1"), peer = bound("127.0.0.1");
    name_of("socket", s), name_of("peer", peer);
    struct sockaddr_in mine = at("127.0.0.1", port_of(s)), theirs = at("127.0.0.1", port_of(peer));
    if (connected) connect(s, SA(theirs));
    printf("  how %d connected %d\n", how, connected);
    struct Sleeper sleepers[2] = {{s, -9, 0}, {s, -9, 0}};
    pthread_t threads[2];
    struct timeval limit = {0, 400000};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    pthread_create(&threads[0], NULL, sleep_in_recv, &sleepers[0]);
    pthread_create(&threads[1], NULL, sleep_in_poll, &sleepers[1]);
    usleep(50000);
    LINE(shutdown(s, how));
    if (how == SHUT_WR) LINE(sendto(peer, "xx", 2, 0, SA(mine)));
    pthread_join(threads[0], NULL);
    if (how == SHUT_WR) LINE(sendto(peer, "xx", 2, 0, SA(mine)));
    pthread_join(threads[1], NULL);
    printf("    recv %ld poll %ld", sleepers[0].got, sleepers[1].got);
    printf(" events %x\n", sleepers[1].code);
    char c[8];
    if (how == SHUT_WR) usleep(50000);
    if (how == SHUT_WR) LINE(recv(s, c, 8, MSG_DONTWAIT));
    name_of("after", s);
    show_ready("nothing there", s);
    LINE(sendto(s, "x", 1, MSG_NOSIGNAL, SA(theirs)));
    if (how == SHUT_RD) settle(peer, POLLIN);
    LINE(recv(peer, c, 8, MSG_DONTWAIT));
    LINE(sendto(peer, "late", 4, 0, SA(mine)));
    usleep(50000);
    show_ready("a datagram there", s);
    LINE(recv(s, c, 8, 0));
    LINE(recv(s, c, 8, 0));
    LINE(recv(s, c, 8, MSG_DONTWAIT));
    SET(SOL_SOCKET, SO_BROADCAST, 1);
    OPT(SOL_SOCKET, SO_BROADCAST);
    LINE(connect(s, SA(theirs)));
    name_of("connected anew", s);
    LINE(send(s, "x", 1, MSG_NOSIGNAL));
    LINE(shutdown(s, SHUT_RDWR));
    LINE(shutdown(s, SHUT_RDWR));
    show_ready("all shut", s);
    close(s), close(peer);
  }
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  LINE(shutdown(s, 9));
  LINE(shutdown(s, -1));
  LINE(shutdown(s, SHUT_RDWR));
  show_ready("a fresh one", s);
  struct sockaddr_in a = at("127.0.0.1", 0);
  LINE(bind(s, SA(a)));
  close(s);
}

static void port_zero(void) {
  section("port 0");
  int s = socket(AF_INET, SOCK_DGRAM, 0), t = bound("127.0.0.1");
  struct sockaddr_in zero = at("127.0.0.1", 0), to = at("127.0.0.1", port_of(t)), un = {.sin_family = AF_UNSPEC}, none = at("0.0.0.0", 0);
  name_of("receiver", t);
  LINE(connect(s, SA(zero)));
  name_of("to port 0", s);
  LINE(sendto(s, "named", 5, 0, SA(to)));
  settle(t, POLLIN);
  show_message("named", t, MSG_DONTWAIT, 100, 0);
  struct sockaddr_in mine = at("127.0.0.1", port_of(s));
  LINE(sendto(t, "back", 4, 0, SA(mine)));
  settle(s, POLLIN);
  show_message("back", s, MSG_DONTWAIT, 100, 0);
  LINE(connect(s, SA(un)));
  name_of("disconnected", s);
  LINE(connect(s, SA(none)));
  name_of("to nothing", s);
  LINE(connect(s, SA(to)));
  LINE(send(s, "x", 1, 0));
  close(s), close(t);
}

static long send_with(int fd, const struct sockaddr_in *to, const char *source, int interface) {
  char control[CMSG_SPACE(sizeof(struct in_pktinfo))] = {0};
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_name = (void *)to, .msg_namelen = sizeof *to, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  struct in_pktinfo info = {.ipi_ifindex = interface};
  inet_pton(AF_INET, source, &info.ipi_spec_dst);
  c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_PKTINFO, c->cmsg_len = CMSG_LEN(sizeof info);
  memcpy(CMSG_DATA(c), &info, sizeof info);
  return sendmsg(fd, &m, 0);
}

static void sources(void) {
  section("chosen sources and interfaces");
  int s = bound("0.0.0.0"), t = bound("127.0.0.1"), local = bound("127.0.0.1");
  struct sockaddr_in to = at("127.0.0.1", port_of(t)), group = at("239.1.2.3", port_of(t)), far = at("192.0.2.77", 9), broadcast = at("127.255.255.255", port_of(t));
  LINE(send_with(s, &to, "0.0.0.0", 31000));
  LINE(send_with(s, &group, "0.0.0.0", 31000));
  LINE(send_with(s, &far, "0.0.0.0", 31000));
  LINE(send_with(s, &to, "192.0.2.78", 0));
  LINE(send_with(s, &group, "192.0.2.78", 1));
  LINE(send_with(s, &to, "239.1.2.3", 0));
  LINE(send_with(s, &to, "255.255.255.255", 0));
  LINE(send_with(s, &to, "127.0.0.9", 1));
  LINE(send_with(s, &group, "127.0.0.9", 1));
  LINE(send_with(s, &broadcast, "127.0.0.9", 0));
  LINE(send_with(local, &to, "0.0.0.0", 0));
  close(s), close(t), close(local);
}

static void too_large(void) {
  section("too large");
  static char big[70000];
  int s = bound("127.0.0.1"), t = bound("127.0.0.1"), one = 1;
  struct sockaddr_in to = at("127.0.0.1", port_of(t));
  name_of("client", s), name_of("receiver", t);
  LINE(sendto(s, big, 65508, 0, SA(to)));
  show_message("unasked", s, MSG_ERRQUEUE, 100, 500);
  setsockopt(s, IPPROTO_IP, IP_RECVERR, &one, 4);
  for (int connected = 0; connected < 2; ++connected) {
    if (connected) LINE(connect(s, SA(to)));
    LINE(sendto(s, big, 65508, 0, SA(to)));
    settle(s, POLLIN);
    usleep(50000);
    show_ready("queued or not", s);
    option("SO_ERROR", s, SOL_SOCKET, SO_ERROR, 4);
    show_message("queued", s, MSG_ERRQUEUE, 100, 500);
    LINE(sendto(s, big, 65508, MSG_MORE, SA(to)));
    show_message("queued", s, MSG_ERRQUEUE, 100, 500);
  }
  close(s), close(t);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN);
  fresh(), options(), binding(), connecting(), receiving(), many(), ancillary(), errors(), waiting(), interrupting(), copying(), groups(), numbers(),
      waits_by_number(), corking(), shutting(), port_zero(), sources(), too_large();
  if (argc > 1) inet6();
  return 0;
}
