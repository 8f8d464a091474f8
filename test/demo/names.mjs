/*
 * Who plays in the demo. Part of scoreboard; PostgreSQL licence, see LICENSE.
 */
const NAMES = ['Mira Okafor', 'Jonas Lindqvist', 'Aiko Tanaka', 'Rafael Duarte', 'Zoë Beaumont', 'Kwame Mensah', 'Priya Raman', 'Lena Vogt',
  'Tomás Herrera', 'Ingrid Solberg', 'Yusuf Demir', 'Chloe Nguyen', 'Mateusz Zieliński', 'Hana Kovář', 'Omar Haddad', 'Saoirse Byrne',
  'Luca Moretti', 'Nia Adeyemi', 'Viktor Petrov', 'Emre Yıldız', 'Sofia Almeida', 'Dmitri Volkov', 'Amara Diallo', 'Finn Gallagher',
  'Mei-Lin Zhou', 'Santiago Rojas', 'Freya Nilsen', 'Arjun Mehta', 'Isolde Krämer', 'Theo Laurent', 'Noor Rahimi', 'Bastian Weiß',
  'Camila Ortiz', 'Kenji Mori', 'Elif Aydın', 'Patrick O’Shea', 'Lucía Navarro', 'Anneke de Vries', 'Malik Johnson', 'Søren Dahl',
  '田中 陽葵', '김서준', 'Νίκος Παππάς', 'Олена Шевченко', 'ليلى منصور', 'pixelfox', 'NightOwl_77', 'lagmaster', 'xXcoinXx', 'QuietStorm'];

export const userIdOf = (index) => `demo-${String(index + 1).padStart(4, '0')}`;
export const nameOf = (index) => NAMES[index % NAMES.length] + (index < NAMES.length ? '' : ` ${Math.floor(index / NAMES.length) + 1}`);
