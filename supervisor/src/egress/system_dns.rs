//! The host's resolver settings, read while files may still be opened and parsed by the resolver's own parser.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use thiserror::Error;

use crate::bounds::{HOSTS_FILE_BYTES_MAX, RESOLV_CONF_BYTES_MAX};

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum SystemDnsError {
    /// A file is there but cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is over its bound.
    #[error("{path} is larger than {max} bytes")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its bound.
        max: u64,
    },
    /// The resolver does not take the settings.
    #[error("the host's resolver settings cannot be used")]
    Settings(#[source] hickory_resolver::net::NetError),
    /// The hosts file cannot be parsed.
    #[error("the hosts file cannot be used")]
    Hosts(#[source] io::Error),
}

/// A snapshot of resolv.conf(5) and hosts(5).
#[derive(Clone, Debug)]
pub struct SystemDns {
    config: ResolverConfig,
    options: ResolverOpts,
    hosts: Arc<Hosts>,
}

impl SystemDns {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`. Call it before confinement. A missing file counts as an empty one:
    /// `--connect-to` with an address needs neither.
    ///
    /// # Errors
    /// When a file that is there cannot be read, is over its bound or is not understood.
    pub fn read() -> Result<Self, SystemDnsError> {
        let resolv_conf = read_bounded(Path::new("/etc/resolv.conf"), RESOLV_CONF_BYTES_MAX)?;
        let hosts = read_bounded(Path::new("/etc/hosts"), HOSTS_FILE_BYTES_MAX)?;
        Self::from_texts(&resolv_conf, &hosts)
    }

    /// Takes the contents of the two files.
    ///
    /// # Errors
    /// When one is not understood.
    pub fn from_texts(resolv_conf: &[u8], hosts: &[u8]) -> Result<Self, SystemDnsError> {
        let (config, mut options) = match parse_resolv_conf(resolv_conf) {
            Ok(parsed) => parsed,
            // The parser refuses a file without a name server; then only hosts and literals can be dialled.
            Err(_) if !names_a_server(resolv_conf) => (ResolverConfig::default(), ResolverOpts::default()),
            Err(error) => return Err(SystemDnsError::Settings(error)),
        };
        // Search lists are for people's short names; a policy names hosts in full.
        let (_, _, servers) = config.into_parts();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        options.use_hosts_file = ResolveHosts::Never; // it would open the file; ours is handed over in `resolver`
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        options.cache_size = 0; // each connection asks anew: the checked answer is the dialled one
        let mut parsed = Hosts::default();
        parsed.read_hosts_conf(hosts).map_err(SystemDnsError::Hosts)?;
        Ok(Self { config, options, hosts: Arc::new(parsed) })
    }

    /// Builds the resolver. Call it inside the runtime; opens no file.
    ///
    /// # Errors
    /// When the resolver does not take the settings.
    pub fn resolver(&self) -> Result<TokioResolver, SystemDnsError> {
        let mut resolver = TokioResolver::builder_with_config(self.config.clone(), TokioRuntimeProvider::default())
            .with_options(self.options.clone())
            .build()
            .map_err(SystemDnsError::Settings)?;
        resolver.set_hosts(Arc::clone(&self.hosts));
        Ok(resolver)
    }
}

fn names_a_server(resolv_conf: &[u8]) -> bool {
    resolv_conf.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_start().starts_with(b"nameserver"))
}

fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, SystemDnsError> {
    let failed = |source| SystemDnsError::Read { path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(max + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > max {
        return Err(SystemDnsError::TooLarge { path: path.into(), max });
    }
    Ok(text)
}

#[cfg(test)]
impl SystemDns {
    /// Settings with one name server on a port that a test may bind.
    pub(crate) fn with_name_server(address: std::net::SocketAddr) -> Self {
        let text = format!("nameserver {}\noptions timeout:1 attempts:1\n", address.ip());
        let mut dns = Self::from_texts(text.as_bytes(), b"").expect("the text is well-formed");
        for connection in dns.config.name_servers.iter_mut().flat_map(|server| &mut server.connections) {
            connection.port = address.port();
        }
        dns
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn name_servers_are_taken_and_search_lists_are_not() {
        let text =
            b"search corp.example lan\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions timeout:2 attempts:1\n";
        let dns = SystemDns::from_texts(text, b"").unwrap();
        let servers: Vec<IpAddr> = dns.config.name_servers().iter().map(|server| server.ip).collect();
        assert_eq!(servers, ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert!(dns.config.search().is_empty());
        assert_eq!(dns.options.timeout.as_secs(), 2);
        assert_eq!(dns.options.use_hosts_file, ResolveHosts::Never);
    }

    #[test]
    fn no_name_server_is_no_error_but_a_wrong_one_is() {
        assert!(SystemDns::from_texts(b"", b"").unwrap().config.name_servers().is_empty());
        assert!(SystemDns::from_texts(b"nameserver not-an-address\n", b"").is_err());
    }

    #[test]
    fn a_file_one_byte_over_its_bound_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, vec![b'#'; 8]).unwrap();
        assert_eq!(read_bounded(&path, 8).unwrap().len(), 8);
        assert!(matches!(read_bounded(&path, 7), Err(SystemDnsError::TooLarge { max: 7, .. })));
        assert!(read_bounded(&directory.path().join("missing"), 7).unwrap().is_empty());
        assert!(matches!(read_bounded(directory.path(), 7), Err(SystemDnsError::Read { .. })));
    }
}
