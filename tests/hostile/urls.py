"""Addresses by which somebody might try to make the platform fetch something (server-side request forgery)."""


def uris(port: int) -> list[str]:
    """Return 60 of them. Those that can lead to this machine lead to the trap at `port`."""
    loopback = [
        "127.0.0.1", "localhost", "127.1", "127.0.1", "0.0.0.0", "0", "2130706433", "0x7f000001", "0x7f.1",
        "0177.0.0.1",
        "017700000001", "127.127.127.127", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "localhost.", "LOCALHOST",
        "①②⑦.⓪.⓪.①", "127。0。0。1",
        "localtest.me", "127.0.0.1.nip.io", "rebind.example",
    ]  # fmt: skip
    elsewhere = [
        "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/latest/",
        "http://metadata.google.internal/",
        "http://100.100.100.200/latest/", "http://169.254.170.2/v2/credentials", "http://10.0.0.1/", "http://192.168.0.1/",
        "http://172.16.0.1/", "http://100.64.0.1/", "http://224.0.0.1/", "http://255.255.255.255/", "http://198.18.0.1/",
    ]  # fmt: skip
    tricks = [
        f"http://evil.example@127.0.0.1:{port}/", f"http://127.0.0.1:{port}@evil.example/", f"//127.0.0.1:{port}/x",
        f"http:127.0.0.1:{port}", f"HTTP://127.0.0.1:{port}/", f"http://127.0.0.1:{port}#@evil.example/",
        f"http://127.0.0.1:{port}%00.example/", f"http://127.0.0.1%09:{port}/", f"http:\\\\127.0.0.1:{port}\\",
        f"https://127.0.0.1:{port}/", f"ftp://127.0.0.1:{port}/", f"gopher://127.0.0.1:{port}/_GET", "file:///etc/passwd",
        "file://localhost/etc/passwd", f"dict://127.0.0.1:{port}/d", f"ldap://127.0.0.1:{port}/", "unix:///run/docker.sock",
        "jar:file:///x!/y", f"ws://127.0.0.1:{port}/", "data:image/png;base64,iVBORw0KGgo=", f"s3://127.0.0.1:{port}/b",
    ]  # fmt: skip
    return [f"http://{host}:{port}/trap" for host in loopback] + elsewhere + tricks
