"""
The sandbox's own certificate authority, and one certificate for all its public names and hosts.

``pki/ca.key``, ``pki/ca.pem`` (also ``ca.pem``), ``pki/server.key``, ``pki/server.crt``.
"""

import datetime
import ipaddress
import os
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.public import common

DAYS = 365


def make(directory, zone="mitx.mit.edu", names=()):
    """
    Make what is missing of the CA and the server's certificate, which is for ``*.<zone>``,
    ``<zone>``, ``localhost``, 127.0.0.1 and ``names``. Returns ``{ca, key, certificate}``: paths.
    """
    pki = pathlib.Path(directory) / "pki"
    paths = {
        "ca": pathlib.Path(directory) / "ca.pem",
        "key": pki / "server.key",
        "certificate": pki / "server.crt",
    }
    if not all(path.exists() for path in paths.values()):
        pki.mkdir(parents=True, exist_ok=True)
        authority_key, authority = _authority()
        key, certificate = _server(authority_key, authority, _subjects(zone, names))
        _write_key(pki / "ca.key", authority_key)
        _write_key(paths["key"], key)
        _write(pki / "ca.pem", _pem(authority))
        _write(paths["certificate"], _pem(certificate))
        # Last: whoever sees this file finds the others complete.
        _write(paths["ca"], _pem(authority))
    return {name: str(path) for name, path in paths.items()}


def _subjects(zone, names):
    zone = common.normal(zone)
    dns_names = dict.fromkeys([f"*.{zone}", zone, "localhost", *map(common.normal, names)])
    return [*map(x509.DNSName, dns_names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


def _authority():
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    name = _name("sandbox CA")
    builder = _builder(name, name, key.public_key())
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    ).add_extension(usage, critical=True)
    return key, builder.sign(key, hashes.SHA256())


def _server(authority_key, authority, subjects):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name("sandbox"), authority.subject, key.public_key())
    extensions = (
        x509.SubjectAlternativeName(subjects),
        x509.BasicConstraints(ca=False, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return key, builder.sign(authority_key, hashes.SHA256())


def _builder(subject, issuer, public_key):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path, key):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem, 0o600)


def _write(path, data, mode=0o644):
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.chmod(mode)
    os.replace(temporary, path)


def main(argv=None):
    """``python -m sandbox.public.tls --dir $SANDBOX``: prints the path of the CA."""
    options = common.arguments(__doc__).parse_args(argv)
    print(make(options.dir)["ca"])


if __name__ == "__main__":
    sys.exit(main())
